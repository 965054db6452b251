"""Beam steps from blocks of the input files to partitions of table rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from beam_pipelines.duplicates import SOURCE
from beam_pipelines.partition import partition_rows
from beam_pipelines.plan import TableInput
from beam_pipelines.privacy import mask_column, pseudonymize, read_key
from beam_pipelines.settings import EventSettings, FeatureSettings, ItemSettings, UserSettings
from beam_pipelines.sources.files import Block
from beam_pipelines.sources.records import Records, read_records
from beam_pipelines.tables import Extracted, extract_events, extract_items, extract_users
from beam_pipelines.tally import Tally

REJECTS, LINES, TALLY = "rejects", "lines", "tally"


class ReadTable(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """Reads blocks of one table.

    Main output: (partition, Arrow bytes of its rows). Tagged outputs: `rejects` as
    ((table, label), (block, line, reason, record)), `lines` as ((table, label), (block, lines)), `tally`.

    Args:
        table: which files and columns.
        settings: of the features.
        partitions: of the main output.
    """

    def __init__(self, table: TableInput, settings: FeatureSettings, partitions: int) -> None:
        self._name = table.name
        self._reading = table.settings
        self._columns = table.columns
        self._settings = settings
        self._partitions = partitions
        self._key: bytes | None = None
        self._read = Metrics.counter("features", f"{table.name}_records")
        self._refused = Metrics.counter("features", f"{table.name}_rejects")

    def setup(self) -> None:
        """Workers fetch the key of the pseudonyms themselves."""
        self._key = None if self._name == "items" else read_key(self._settings.privacy)

    def process(self, block: Block) -> Iterator[Any]:
        """Reads one block."""
        records = read_records(block, self._reading, self._columns)
        extracted = self._extract(records)
        source = (self._name, block.file.label)
        rejects = [*records.rejects, *(records.refuse(row, why) for row, why in extracted.refused.items())]
        for reject in rejects:
            text = "" if self._key is not None else reject.record
            yield beam.pvalue.TaggedOutput(REJECTS, (source, (block.index, reject.line, reject.reason, text)))
        yield beam.pvalue.TaggedOutput(LINES, (source, (block.index, records.lines)))
        yield beam.pvalue.TaggedOutput(TALLY, self._tally(records, extracted).to_state())
        self._read.inc(records.total)
        self._refused.inc(len(rejects))
        rows = extracted.table
        if self._name != "events":
            rows = _with_source(rows, records, extracted, block)
        yield from partition_rows(self._private(rows), self._row_key(), self._partitions)

    def _extract(self, records: Records) -> Extracted:
        settings, privacy = self._reading, self._settings.privacy
        if isinstance(settings, EventSettings):
            return extract_events(records.table, settings, privacy)
        if isinstance(settings, ItemSettings):
            return extract_items(records.table, settings)
        if isinstance(settings, UserSettings):
            return extract_users(records.table, settings, privacy)
        raise TypeError(f"no table has settings of type {type(settings).__name__}")

    def _row_key(self) -> str:
        return "item_id" if self._name == "items" else "user_id"

    def _private(self, rows: pa.Table) -> pa.Table:
        if self._name == "items":
            return rows
        if self._key is not None and len(rows):
            rows = _replace(rows, "user_id", pseudonymize(rows["user_id"], self._key))
        for name, pattern in self._settings.privacy.mask.items():
            if name in rows.column_names and len(rows):
                rows = _replace(rows, name, mask_column(rows[name], pattern))
        return rows

    def _tally(self, records: Records, extracted: Extracted) -> Tally:
        tally = Tally()
        tally.add(f"read/{self._name}", records.total)
        for reason, count in extracted.left_out.items():
            tally.add(f"left_out/{reason}", count)
        return tally


def _replace(rows: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, column)


def _with_source(rows: pa.Table, records: Records, extracted: Extracted, block: Block) -> pa.Table:
    """Adds where each row came from, for rows that are refused after the shuffle."""
    kept = [row for row in range(len(records.table)) if row not in extracted.refused]
    places = [f"{block.file.label}\t{block.index}\t{records.locate(row)[0]}" for row in kept]
    return rows.append_column(SOURCE, pa.array(places, pa.string()))
