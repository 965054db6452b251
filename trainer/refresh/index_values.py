"""The variables of an index, rewritten for another catalogue; what stays is copied bit by bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.errors import ExportError
from trainer.explaining import descriptions
from trainer.indexes.update import decoded, updated
from trainer.refresh.checkpoint import Arrays
from trainer.rules.variants import variant_groups
from trainer.string_lookup import lookup_arrays

INDEX = "_index/"
_SEARCHED = ("vectors/", "inverted_file/")
_REWRITTEN = (
    "items/",
    "category_names/",
    "descriptions/",
    "scale",
    "id_rows",
    "categories",
    "variants",
    "vectors",
)


@dataclass(frozen=True)
class Rows:
    """The rows of a new catalogue.

    Attributes:
        ids: [M] the ids.
        origin: int64 [M] for each the row of the old index that it comes from, -1 for a new item.
        embedded: bool [M] whether it has a vector of its own here, instead of that of its old row.
        vectors: float32 [number embedded, D], in the order of the rows.
        categories: [number embedded] names of categories, in the order of the rows.
        variant_keys: By row what says whose variant an item is, of new items and where that has changed.
        examples: [number embedded] serialized tf.train.Examples of the items' features, in the order of the rows; made
            where an index keeps them.
    """

    ids: Sequence[str]
    origin: npt.NDArray[np.int64]
    embedded: npt.NDArray[np.bool_]
    vectors: npt.NDArray[np.float32]
    categories: Sequence[Sequence[str]]
    variant_keys: Mapping[int, Any]
    examples: Iterable[bytes] = ()


def item_ids(variables: Arrays) -> list[str]:
    """The ids of an index, in the order of its rows."""
    return [value.decode("utf-8") for value in variables[f"{INDEX}items/values"]]


def with_id_embedding(variables: Arrays) -> frozenset[str]:
    """The ids of the items that have an ID embedding; of versions that do not say so, none."""
    rows, ids = variables.get(f"{INDEX}id_rows"), variables[f"{INDEX}items/values"]
    return (
        frozenset()
        if rows is None
        else frozenset(ids[row].decode("utf-8") for row in np.flatnonzero(rows > 0))
    )


def float_vectors(variables: Arrays) -> npt.NDArray[np.float32]:
    """float32 [N, D] vectors of an index, as near as it keeps them."""
    inside = _inside(variables)
    if "vectors" in inside:
        return np.asarray(inside["vectors"], np.float32)
    return decoded(inside, slice(None))


def rewritten(variables: Arrays, rows: Rows) -> Arrays:
    """The variables of the index for another catalogue, by path.

    Popularity (`scale`) and the ID embedding (`id_rows`) are those of the old row; new items have none.

    Raises:
        ExportError: an id cannot be looked up, or the version has variables that nobody here knows.
    """
    inside = _inside(variables)
    if unknown := sorted(path for path in inside if not path.startswith((*_SEARCHED, *_REWRITTEN))):
        raise ExportError(
            f"The index has the variables {', '.join(unknown)}, which this release of twotower cannot rewrite. "
            "Export the model again."
        )
    kept = np.where(rows.embedded, -1, rows.origin)
    new = _vectors(inside, kept, rows.vectors)
    if "variants" in inside:
        new["variants"] = _variants(inside["variants"], rows)
    for name in {"scale", "id_rows"} & set(inside):
        old = inside[name]
        new[name] = np.where(rows.origin >= 0, _taken(old, rows.origin), old.dtype.type(0))
    new |= _lookup("items", rows.ids)
    new |= _categories(inside, kept, rows)
    new |= descriptions.rewritten(inside, kept, rows.examples)
    return {INDEX + path: value for path, value in new.items()}


def _inside(variables: Arrays) -> Arrays:
    return {path.removeprefix(INDEX): value for path, value in variables.items() if path.startswith(INDEX)}


def _vectors(inside: Arrays, kept: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> Arrays:
    if "vectors" in inside:  # one float32 table, as the first releases wrote it
        new = _taken(inside["vectors"], kept)
        new[kept < 0] = vectors
        return {"vectors": new}
    return updated({path: inside[path] for path in inside if path.startswith(_SEARCHED)}, kept, vectors)


def _variants(old: npt.NDArray[np.int64], rows: Rows) -> npt.NDArray[np.int64]:
    new = _taken(old, rows.origin)
    new[list(rows.variant_keys)] = variant_groups(list(rows.variant_keys.values()))
    return new


def _taken(values: npt.NDArray[Any], origin: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rows of `values`; any row where the origin is -1."""
    shape = (len(origin), *values.shape[1:])
    return values[np.maximum(origin, 0)] if len(values) else np.zeros(shape, values.dtype)


def _lookup(path: str, strings: Sequence[str]) -> Arrays:
    """The variables of a `StringLookup`."""
    values = np.empty(len(strings), dtype=object)
    values[:] = [string.encode("utf-8") for string in strings]
    arrays = lookup_arrays(strings)
    return {f"{path}/values": values, **{f"{path}/{name}": array for name, array in arrays.items()}}


def _categories(inside: Arrays, kept: npt.NDArray[np.int64], rows: Rows) -> Arrays:
    """The table of categories, with the names that the new items bring."""
    names = [value.decode("utf-8") for value in inside["category_names/values"]]
    names += sorted({name for row in rows.categories for name in row} - set(names))
    number = {name: place for place, name in enumerate(names)}
    old = inside["categories"]
    width = max([old.shape[1], *(len(row) for row in rows.categories)])
    table = np.full((len(kept), width), -1, np.int32)
    table[:, : old.shape[1]] = np.where(kept[:, np.newaxis] >= 0, _taken(old, kept), -1)
    for row, of_item in zip(np.flatnonzero(rows.embedded), rows.categories, strict=True):
        table[row, : len(of_item)] = [number[name] for name in of_item]
    return {"categories": table, **_lookup("category_names", names)}
