"""JSON Lines to a table of text and list columns."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from beam_pipelines.sources.lines import line_starts
from beam_pipelines.sources.parsed import Parsed


def parse_json_lines(data: bytes, needed: tuple[str, ...]) -> Parsed:
    """Parses one JSON object a line.

    Numbers keep the text that they have in the file, so that the id 17850 does not depend on its neighbours.
    A dot in a column's name walks into nested objects.

    Args:
        data: whole lines in UTF-8.
        needed: columns to return.

    Returns:
        Text columns; a JSON list stays as its JSON text. Unreadable: what is no JSON object.
    """
    columns: dict[str, list[str]] = {name: [] for name in needed}
    bad: list[tuple[int, str, str]] = []
    places: list[tuple[int, str]] = []
    for number, begin, end in line_starts(data, ""):
        line = data[begin:end]
        try:
            record = json.loads(line, parse_float=str, parse_int=str)
        except ValueError:
            record = None
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        row = [_text(_walk(record, name)) for name in needed] if isinstance(record, dict) else None
        if row is None or not all(map(_encodes, row)):
            bad.append((number, "no_json_object" if row is None else "invalid_encoding", text))
            continue
        places.append((number, text))
        for name, value in zip(needed, row, strict=True):
            columns[name].append(value)
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return Parsed(table, bad, places.__getitem__)


def _walk(record: dict[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _encodes(text: str) -> bool:
    """False for lone surrogates, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return json.dumps([_plain(v) for v in value], ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Numbers were kept as text; inside a list they become numbers again where they are some."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
