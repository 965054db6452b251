"""Rejects with their place in the file, one JSON line each."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_pipelines.files_out import write_bytes
from beam_pipelines.tally import Tally


class WriteRejects(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """((table, label), rejects and block lengths) to one file under `rejects/`; yields a tally.

    Lines are numbered from 1 through the whole file, its header included. In Parquet files they are rows.

    Args:
        root: directory under construction.
        headers: (table, label) to the number of header lines.
    """

    def __init__(self, root: str, headers: dict[tuple[str, str], int]) -> None:
        self._root = root
        self._headers = headers

    def process(self, element: tuple[tuple[str, str], dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Writes the rejects of one input file."""
        (table, label), grouped = element
        first_line = _first_lines(grouped["lines"], self._headers.get((table, label), 0))
        places = [place for several in grouped["rejects"] for place in several]
        rejects = sorted((first_line[block] + line, reason, text) for block, line, reason, text in places)
        tally = Tally()
        for _, reason, _ in rejects:
            tally.add(f"rejects/{table}/{reason}", 1)
        if rejects:
            lines = [
                json.dumps(
                    {"file": label, "line": line, "reason": reason, "record": text}, ensure_ascii=False
                )
                for line, reason, text in rejects
            ]
            write_bytes(self._root, rejects_file(table, label), ("\n".join(lines) + "\n").encode())
        yield tally.to_state()


def rejects_file(table: str, label: str) -> str:
    """Where the rejects of an input file are written, inside the dataset."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", label)[-80:].strip("-.")
    return f"rejects/{table}-{name}-{zlib.crc32(label.encode()):08x}.jsonl"


def _first_lines(lengths: Iterable[tuple[int, int]], header: int) -> dict[int, int]:
    """Block to the number of its first line."""
    first, line = {}, header + 1
    for block, lines in sorted(lengths):
        first[block] = line
        line += lines
    return first
