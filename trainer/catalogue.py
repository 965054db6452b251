"""The items table in memory, in the one order that training, evaluation and the index share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.dataset import DatasetDirectory, Feature
from trainer.keras_compat import tf
from trainer.records import read_columns


@dataclass(frozen=True)
class Catalogue:
    """All items: first those of the training events, most frequent first, then the others by id.

    Attributes:
        item_ids: [N] identifiers.
        trained: How many of them occur in training events; row i < trained has the ID embedding i + 1.
        counts: int64 [N] training events an item, 0 from `trained` on.
        columns: By feature name, aligned with `item_ids`: object array [N] of str, float32 [N] or [N, n], or for
            lists an object array [N] of tuples of str.
        titles: [N] what people read.
    """

    item_ids: tuple[str, ...]
    trained: int
    counts: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[Any]]
    titles: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_ids)


def load_catalogue(dataset: DatasetDirectory) -> Catalogue:
    """Reads the items table and orders it by the training counts of the vocabulary."""
    id_feature = dataset.one("items", "item_id")
    assert id_feature is not None  # noqa: S101  DatasetDirectory.open has checked it
    columns = {name: _as_numpy(column) for name, column in read_columns(dataset, "items").items()}
    listed = [str(item) for item in columns.pop(id_feature.name)]
    frequent, counts = _training_counts(dataset)
    ids = [*frequent, *sorted(set(listed) - set(frequent))]
    features = [feature for feature in dataset.items if feature.name in columns]
    rows = _rows_of(ids, listed)
    aligned = {feature.name: _take(columns[feature.name], rows, feature) for feature in features}
    title = dataset.one("items", "item_title")
    return Catalogue(
        item_ids=tuple(ids),
        trained=len(frequent),
        counts=np.asarray([*counts, *[0] * (len(ids) - len(frequent))], np.int64),
        columns=aligned,
        titles=tuple(aligned[title.name]) if title else tuple(ids),
    )


def _training_counts(dataset: DatasetDirectory) -> tuple[list[str], list[int]]:
    feature = dataset.one("sequences", "item_id")
    assert feature is not None  # noqa: S101  DatasetDirectory.open has checked it
    return dataset.vocabulary(feature)


def _rows_of(ids: Sequence[str], listed: Sequence[str]) -> npt.NDArray[np.int64]:
    """Row of the items table for each id, -1 for an item that occurs in events only."""
    where = {item: row for row, item in enumerate(listed)}
    return np.asarray([where.get(item, -1) for item in ids], np.int64)


def _as_numpy(column: Any) -> npt.NDArray[Any]:
    if isinstance(column, tf.RaggedTensor):
        lists = np.empty(int(column.nrows()), dtype=object)
        lists[:] = [tuple(_decode(value) for value in row) for row in column.to_list()]
        return lists
    if column.dtype == object:
        return np.asarray([_decode(value) for value in column], dtype=object)
    return np.asarray(column)


def _decode(value: Any) -> Any:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _take(column: npt.NDArray[Any], rows: npt.NDArray[np.int64], feature: Feature) -> npt.NDArray[Any]:
    """Rows of a column, with the feature's default where the row is -1."""
    taken = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
    present = rows >= 0
    taken[present] = column[rows[present]]
    absent = np.flatnonzero(~present)
    for row in absent:
        taken[row] = (
            () if feature.shape == (None,) else feature.default or ("" if feature.dtype == "string" else 0)
        )
    return taken
