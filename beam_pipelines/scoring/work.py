"""The Beam step that scores a unit of work: reads its records, asks the model, writes the parts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from beam_pipelines.files_out import write_bytes
from beam_pipelines.scoring.answering import Failure
from beam_pipelines.scoring.earlier import EarlierUnit, row_digest
from beam_pipelines.scoring.formats import encode_table
from beam_pipelines.scoring.handler import SignatureHandler
from beam_pipelines.scoring.parts import STATE_SCHEMA, Part, part_file, write_part
from beam_pipelines.scoring.rows import BlockEnd, InputRow, Refused
from beam_pipelines.scoring.sentences import Sentences
from beam_pipelines.scoring.task import by_item, list_lengths, result_schema, result_table
from beam_pipelines.scoring.units import Inputs, Unit

Found = InputRow | Refused | BlockEnd


@dataclass(frozen=True)
class Output:
    """How results are written.

    Attributes:
        root: directory under construction.
        kind: format of the files.
        by_item: one row an item of a list.
        k: length of ranked lists; None: as the model gives.
        sentences: made of explanations, or None.
        part_records: records in a part; what is in memory at once.
        earlier: directory of earlier results to take unchanged records from.
        earlier_parts: unit to the number of its parts there.
    """

    root: str
    kind: str
    by_item: bool
    k: int | None
    sentences: Sentences | None
    part_records: int
    earlier: str | None = None
    earlier_parts: dict[int, int] = field(default_factory=dict)


class ScoreUnits(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """(number, unit) to the files of its parts; yields the number of records of each part.

    Args:
        handler: of the model; one model a process is loaded and shared.
        inputs: of the records.
        output: where to.
        complete: (unit, part) that are there already.
    """

    def __init__(
        self, handler: SignatureHandler, inputs: Inputs, output: Output, complete: frozenset[tuple[int, int]]
    ) -> None:
        self._handler = handler
        self._inputs = inputs
        self._output = output
        self._complete = complete
        self._shared = Shared()
        self._model: Any = None

    def setup(self) -> None:
        """Loads the model, or takes the one that this process has."""
        self._model = self._shared.acquire(self._handler.load_model)

    def process(self, element: tuple[int, Unit]) -> Iterator[int]:
        """Scores one unit."""
        number, unit = element
        earlier = self._earlier(number)
        for part, (records, last) in enumerate(_portions(unit.read(self._inputs), self._output.part_records)):
            if (number, part) not in self._complete:
                yield self._score(number, part, last, records, earlier)

    def _earlier(self, unit: int) -> EarlierUnit | None:
        output = self._output
        if output.earlier is None or unit not in output.earlier_parts:
            return None
        schema = result_schema(self._inputs.task, output.by_item)
        return EarlierUnit(Path(output.earlier), unit, output.earlier_parts[unit], output.kind, schema)

    def _score(
        self, unit: int, number: int, last: bool, found: list[Found], earlier: EarlierUnit | None
    ) -> int:
        """Scores and writes one part; returns its number of records."""
        rows = [row for row in found if isinstance(row, InputRow)]
        digests = [row_digest(row.fields) for row in rows]
        known = [earlier.find(r.key, d) if earlier else None for r, d in zip(rows, digests, strict=True)]
        results, counts, failures = self._results(rows, known)
        kept = [place for place in range(len(rows)) if place not in failures]
        refused = [row for row in found if isinstance(row, Refused)]
        refused += [_refused(rows[place], failure.reason) for place, failure in failures.items()]
        reused = sum(table is not None for table in known)
        path = part_file(unit, number, self._output.kind)
        part = Part(
            unit=unit,
            number=number,
            last=last,
            path=path,
            rows=len(results),
            sha256=write_bytes(self._output.root, path, encode_table(results, self._output.kind)),
            records=len(kept) + len(refused),
            scored=len(kept) - reused,
            reused=reused,
            rejects=[r.to_list() for r in refused],
            lines=[[end.file, end.block, end.lines] for end in found if isinstance(end, BlockEnd)],
        )
        state = [[rows[place].key for place in kept], [digests[place] for place in kept], counts]
        arrays = [pa.array(column, f.type) for column, f in zip(state, STATE_SCHEMA, strict=True)]
        write_part(self._output.root, part, pa.Table.from_arrays(arrays, schema=STATE_SCHEMA))
        for name, count in (("scored", part.scored), ("reused", reused), ("rejects", len(refused))):
            Metrics.counter("scoring", f"{name}_records").inc(count)
        return part.records

    def _results(
        self, rows: Sequence[InputRow], known: Sequence[pa.Table | None]
    ) -> tuple[pa.Table, list[int], dict[int, Failure]]:
        """The results of all rows in their order, how many each has, and the places of rows without any."""
        task, output = self._inputs.task, self._output
        new = [place for place, table in enumerate(known) if table is None]
        answers = self._handler.answer([rows[place].fields for place in new], self._model, isolate=True)
        failures = {p: a for p, a in zip(new, answers, strict=True) if isinstance(a, Failure)}
        answered = [place for place in new if place not in failures]
        keys, fields = [rows[place].key for place in answered], [rows[place].fields for place in answered]
        good = [answer for answer in answers if not isinstance(answer, Failure)]
        if (said := output.sentences) is not None:
            pairs = zip(good, fields, strict=True)
            good = [{**answer, "sentence": said.said(row["item_id"], answer)} for answer, row in pairs]
        fresh = result_table(task, keys, fields, good, output.k)
        lengths = list_lengths(fresh, task) if output.by_item else [1] * len(fresh)
        fresh = by_item(fresh, task) if output.by_item else fresh
        results, counts = _joined([t for p, t in enumerate(known) if p not in failures], fresh, lengths)
        return results, counts, failures


def _joined(
    known: Sequence[pa.Table | None], fresh: pa.Table, lengths: Sequence[int]
) -> tuple[pa.Table, list[int]]:
    """Puts new results between those that are known, and counts the rows of each record."""
    if all(table is None for table in known):
        return fresh, list(lengths)
    ends = itertools.accumulate(lengths)
    pieces = (fresh.slice(end - count, count) for end, count in zip(ends, lengths, strict=True))
    tables = [next(pieces) if table is None else table for table in known]
    return pa.concat_tables(tables), [len(table) for table in tables]


def _refused(row: InputRow, reason: str) -> Refused:
    text = json.dumps(row.fields, ensure_ascii=False, default=str)[:2000]
    return Refused("refused_by_model", reason, text, row.place)


def _portions(found: Iterator[Found], size: int) -> Iterator[tuple[list[Found], bool]]:
    """Cuts a unit into lists of `size` entries, and says which is the last; one empty list for an empty unit."""
    current = list(itertools.islice(found, size))
    while True:
        following = list(itertools.islice(found, size))
        yield current, not following
        if not following:
            return
        current = following
