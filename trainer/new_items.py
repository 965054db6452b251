"""Reads items that are to be added to an index: JSON Lines with `item_id`, `title` and the model's item features."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.contract import ITEM_ID
from trainer.errors import ExportError
from trainer.keras_compat import tf

_TITLE = "title"
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class NewItems:
    """Items that an index does not hold yet.

    Attributes:
        ids: [N] distinct.
        titles: [N] for people; the id where none was given.
        categories: [N] values of all list features of an item.
        features: Inputs of `embed_item` by name, [N, ...].
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    features: dict[str, npt.NDArray[Any]]


def read_new_items(file: Path, inputs: dict[str, Any]) -> NewItems:
    """Reads and checks a file.

    Args:
        file: One JSON object a line, such as `{"item_id": "n1", "title": "...", "text": "...", "genre": ["Drama"]}`.
        inputs: tf.TensorSpec of each input of `embed_item` by name. A feature that is left out is empty or NaN.

    Raises:
        ExportError: the file is empty, or a line is not such an object; the message names the line.
    """
    rows = [
        _row(line, f"{file}:{number}", inputs)
        for number, line in enumerate(_lines_of(file), start=1)
        if line.strip()
    ]
    ids = [row[ITEM_ID] for row in rows]
    if not ids:
        raise ExportError(f"{file} holds no items.")
    if repeated := sorted({item for item in ids if ids.count(item) > 1}):
        raise ExportError(f"{file}: {', '.join(repeated[:5])} occur more than once.")
    lists = [name for name, spec in inputs.items() if _is_list(spec)]
    return NewItems(
        ids=tuple(ids),
        titles=tuple(" ".join(str(row.get(_TITLE) or row[ITEM_ID]).split()) for row in rows),
        categories=tuple(
            tuple(dict.fromkeys(v for name in lists for v in row.get(name) or [])) for row in rows
        ),
        features={name: _column([row.get(name) for row in rows], spec) for name, spec in inputs.items()},
    )


def _lines_of(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028 inside a string
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"Cannot read {file}: {error}.") from error


def _row(line: str, where: str, inputs: dict[str, Any]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ExportError(f"{where} is not JSON: {error}.") from error
    if not isinstance(row, dict) or not isinstance(row.get(ITEM_ID), str) or not row[ITEM_ID].strip():
        raise ExportError(f'{where}: expected an object with a string "{ITEM_ID}", got {line[:80]!r}.')
    if "\n" in row[ITEM_ID] or "\r" in row[ITEM_ID]:
        raise ExportError(f"{where}: the item id {row[ITEM_ID]!r} holds a line break.")
    if unknown := sorted(set(row) - set(inputs) - {ITEM_ID, _TITLE}):
        raise ExportError(
            f"{where}: unknown feature {unknown[0]!r}; the model reads {', '.join(sorted(inputs))}."
        )
    for name, spec in inputs.items():
        if row.get(name) is not None and not _fits(row[name], spec):
            wanted = (
                "a list of strings"
                if _is_list(spec)
                else "a string"
                if spec.dtype == tf.string
                else f"a list of {spec.shape[1]} numbers"
                if spec.shape.rank == 2
                else "a number"
            )
            raise ExportError(f"{where}: {name!r} should be {wanted}, got {row[name]!r}.")
    return row


def _is_list(spec: Any) -> bool:
    return bool(spec.dtype == tf.string and spec.shape.rank == 2)


def _fits(value: Any, spec: Any) -> bool:
    if _is_list(spec):
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    if spec.dtype == tf.string:
        return isinstance(value, str)
    if spec.shape.rank == 2:
        return isinstance(value, list) and len(value) == spec.shape[1] and all(map(_is_number, value))
    return _is_number(value)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number of float32."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _column(values: list[Any], spec: Any) -> npt.NDArray[Any]:
    if _is_list(spec):
        width = max([1, *(len(value or []) for value in values)])
        return np.asarray(
            [[*(value or []), *[""] * (width - len(value or []))] for value in values], dtype=object
        )
    if spec.dtype == tf.string:
        return np.asarray([value or "" for value in values], dtype=object)
    if spec.shape.rank == 2:
        return np.asarray([value or [0.0] * spec.shape[1] for value in values], np.float32)
    return np.asarray([np.nan if value is None else value for value in values], np.float32)
