"""The sequences tables in memory: one flat array an event attribute, cut into users by row splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.catalogue import Catalogue
from trainer.dataset import DatasetDirectory
from trainer.errors import DatasetError
from trainer.evaluation.queries import EvaluationQueries
from trainer.records import read_columns


@dataclass(frozen=True)
class Sequences:
    """The users of one split, each with all events up to the end of the split.

    Attributes:
        items: int32 [T] catalogue rows of all events, oldest first within a user; -1 for an unknown item.
        row_splits: int64 [S + 1] where each user's events begin and end in the arrays over T.
        target_start: int64 [S] how many of a user's events are context only.
        timestamps: int64 [T] Unix seconds, zeros if the data has none.
        events: object [T] event types as str, "" if the data has none.
        values: float32 [T] observed values such as ratings, NaN if the data has none.
        user_ids: object [S] of str.
        user_columns: By user feature: object [S] of str or float32 [S].
    """

    items: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    target_start: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    events: npt.NDArray[Any]
    values: npt.NDArray[np.float32]
    user_ids: npt.NDArray[Any]
    user_columns: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.row_splits) - 1


def load_sequences(dataset: DatasetDirectory, split: str, catalogue: Catalogue) -> Sequences:
    """Reads one split, in the order of user ids so that shards and workers do not matter.

    Args:
        dataset: A complete dataset directory.
        split: "train", "validation" or "test".
        catalogue: Gives each item its row.

    Raises:
        DatasetError: a parallel list is longer or shorter than the list of items.
    """
    columns = read_columns(dataset, split)
    by_role = {feature.role: feature.name for feature in reversed(dataset.sequences)}
    item_lists = columns[by_role["item_id"]]
    users = (
        _strings(columns[by_role["user_id"]]) if "user_id" in by_role else np.arange(int(item_lists.nrows()))
    )
    order = np.argsort(users, kind="stable")
    row_splits, flat = _flatten(item_lists, order)
    rows = {item: row for row, item in enumerate(catalogue.item_ids)}
    total = len(flat)

    def parallel(role: str, missing: Any, dtype: Any) -> npt.NDArray[Any]:
        if role not in by_role:
            return np.full(total, missing, dtype)
        splits, values = _flatten(columns[by_role[role]], order)
        if not np.array_equal(splits, row_splits):
            raise DatasetError(
                f"{dataset.path}: {split}: the lists of {by_role[role]!r} do not run parallel to the items."
            )
        return _strings(values) if dtype is object else values.astype(dtype)

    return Sequences(
        items=np.asarray([rows.get(item.decode("utf-8", "replace"), -1) for item in flat], np.int32),
        row_splits=row_splits,
        target_start=np.asarray(columns[by_role["target_start"]], np.int64)[order],
        timestamps=parallel("timestamp", 0, np.int64),
        events=parallel("event", "", object),
        values=parallel("value", np.nan, np.float32),
        user_ids=users[order],
        user_columns={
            feature.name: _user_column(columns[feature.name])[order]
            for role in ("user_category", "user_numeric")
            for feature in dataset.with_role("sequences", role)
        },
    )


def _flatten(ragged: Any, order: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Row splits and flat values of a ragged column whose rows are put in another order."""
    splits = ragged.row_splits.numpy()
    values = ragged.values.numpy()
    lengths = np.diff(splits)[order]
    new_splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    take = (
        np.arange(new_splits[-1])
        - np.repeat(new_splits[:-1], lengths)
        + np.repeat(splits[:-1][order], lengths)
    )
    return new_splits, values[take]


def _strings(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray([value.decode("utf-8", "replace") for value in values] or [], dtype=object)


def _user_column(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _strings(column) if column.dtype == object else column.astype(np.float32)


def queries_of(sequences: Sequences) -> EvaluationQueries:
    """Every event that is a target, with the events before it."""
    return EvaluationQueries.from_sequences(sequences.items, sequences.row_splits, sequences.target_start)
