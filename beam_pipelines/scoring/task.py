"""What can be scored: which signature answers, and which columns come of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

Side = Literal["users", "items", "ids"]


@dataclass(frozen=True)
class Task:
    """One kind of scoring.

    Attributes:
        name: as on the command line.
        signature: that answers.
        side: what a record describes: a user, an item by its features, or an item by its id alone.
        columns: output column to the output of the signature that it holds, in order; lists with a value an entry.
        of_items: records bring items of their own to score (`rank`).
        parts: outputs that have a list for each entry, to the output that names what stands in it; "" there is padding.
        optional: columns that only some models have an output for.
    """

    name: str
    signature: str
    side: Side
    columns: dict[str, str] = field(default_factory=dict)
    of_items: bool = False
    parts: dict[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Name of the column that says what a row is about."""
        return "user_id" if self.side == "users" else "item_id"

    @property
    def ranked(self) -> bool:
        """A row is a list of items, best first."""
        return self.signature in ("recommend", "retrieve", "similar_items")

    def fitted(self, outputs: Collection[str]) -> Task:
        """The same without optional columns that a model has no output for."""
        kept = {
            name: output
            for name, output in self.columns.items()
            if output in outputs or name not in self.optional
        }
        return replace(self, columns=kept)


_PARTS = {
    output: names
    for names, output in (
        ("history_item_id", "history_contribution"), ("query_word", "query_word_contribution"),
        ("user_feature", "user_feature_contribution"), ("item_word", "item_word_contribution"),
        ("nearest_item_id", "nearest_cosine"),
    )
    for output in (names, output)
}  # fmt: skip
_PLAIN = ("item_id", "score", "baseline", "item_baseline", "completeness_error")
_EXPLAINED = {name: name for name in (*_PLAIN, *_PARTS, "sentence")}

TASKS = {
    task.name: task
    for task in (
        Task("recommend", "recommend", "users", {"item_id": "item_id", "score": "score"}),
        Task("retrieve", "retrieve", "users", {"item_id": "item_id", "score": "score"}),
        Task("pairs", "rank", "users", {"item_id": "item_id", "score": "score"}, of_items=True),
        Task(
            "explain",
            "explain",
            "users",
            _EXPLAINED,
            of_items=True,
            parts=_PARTS,
            optional=frozenset(name for name in (*_PARTS, "item_baseline") if name.startswith("item_"))
            | {"sentence"},
        ),
        Task("embed-users", "embed_query", "users", {"embedding": "embedding"}),
        Task("embed-items", "embed_item", "items", {"embedding": "embedding"}),
        Task("similar", "similar_items", "ids", {"similar_item_id": "item_id", "score": "score"}),
    )
}

_TEXTS = {"item_id", "similar_item_id", "sentence", *_PARTS.values()}


def result_schema(task: Task, by_item: bool) -> pa.Schema:
    """Columns of the results.

    Args:
        task: what is scored.
        by_item: one row an item of a list, with its rank, instead of one row a record.
    """
    fields = [pa.field(task.key, pa.string())]
    fields += [pa.field("rank", pa.int32())] if by_item and task.ranked else []
    for name in task.columns:
        kind = pa.list_(pa.string() if name in _TEXTS else pa.float32())
        kind = pa.list_(kind) if name in task.parts else kind
        fields.append(pa.field(name, kind.value_type if by_item else kind))
    return pa.schema(fields)


def result_table(
    task: Task, keys: Sequence[str], rows: Sequence[Mapping[str, Any]], answers: Sequence[Any], k: int | None
) -> pa.Table:
    """One row a record, lists in the order of the model.

    Args:
        task: what is scored.
        keys: [n] user or item ids.
        rows: [n] inputs.
        answers: [n] outputs by name.
        k: length of ranked lists; None: as the model gives. Padding is left out.
    """
    columns: list[pa.Array] = [pa.array(keys, pa.string())]
    lengths = [_length(task, row, answer, k) for row, answer in zip(rows, answers, strict=True)]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    schema = result_schema(task, by_item=False)
    for name, output in task.columns.items():
        if name in task.parts:
            flat = _part_lists(task, output, answers, lengths, schema.field(name).type.value_type)
        elif output == "item_id" and task.of_items:
            flat = pa.array([item for row in rows for item in row["item_id"]], pa.string())
        elif schema.field(name).type.value_type == pa.string():
            parts = [answer[output][:length] for answer, length in zip(answers, lengths, strict=True)]
            flat = pa.array(_joined(parts, object), pa.binary()).cast(pa.string())
        else:
            parts = [answer[output][:length] for answer, length in zip(answers, lengths, strict=True)]
            flat = pa.array(_joined(parts, np.float32), pa.float32())
        columns.append(pa.ListArray.from_arrays(offsets, flat))
    return pa.Table.from_arrays(columns, schema=schema)


def _part_lists(
    task: Task, output: str, answers: Sequence[Any], lengths: Sequence[int], kind: pa.DataType
) -> pa.Array:
    """A list for each entry of each answer, without padding."""
    lists: list[list[Any]] = []
    for answer, length in zip(answers, lengths, strict=True):
        names = answer[task.parts[output]][:length]
        lists += [row[name != b""].tolist() for row, name in zip(answer[output][:length], names, strict=True)]
    if kind.value_type == pa.string():
        lists = [[text.decode("utf-8", "replace") for text in row] for row in lists]
    return pa.array(lists, kind)


def _joined(parts: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _length(task: Task, row: Mapping[str, Any], answer: Mapping[str, Any], k: int | None) -> int:
    if task.of_items:
        return len(row["item_id"])
    first = answer[next(iter(task.columns.values()))]
    if not task.ranked:
        return len(first)
    found = int(np.count_nonzero(first != b""))  # padding stands at the end
    return found if k is None else min(found, k)


def list_lengths(table: pa.Table, task: Task) -> list[int]:
    """Number of entries of the lists of each row."""
    lists = table[next(iter(task.columns))].combine_chunks()
    lengths: list[int] = np.diff(lists.offsets.to_numpy()).tolist()
    return lengths


def by_item(table: pa.Table, task: Task) -> pa.Table:
    """One row an entry of the lists; ranked ones with their rank from 1."""
    lists = [table[name].combine_chunks() for name in task.columns]
    lengths = np.array(list_lengths(table, task), np.int64)
    columns = [table[task.key].take(pa.array(np.repeat(np.arange(len(table)), lengths)))]
    if task.ranked:
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        columns.append(pa.array((np.arange(lengths.sum()) - starts + 1).astype(np.int32)))
    columns += [column.flatten() for column in lists]
    return pa.Table.from_arrays(columns, schema=result_schema(task, by_item=True))
