"""Requests made of real users and items: for warm-up, and to compare an export with the live model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.keras_compat import tf
from trainer.preparation import Preparation
from trainer.rules.list_rules import NEUTRAL
from trainer.sequences import Sequences
from trainer.signatures import SignatureInputs

Arrays = dict[str, npt.NDArray[Any]]
_EXPLAINED_EVENTS = 16
"""Of a request to `explain`, which asks the model about hundreds of parts of its history."""
_LIST_RULES = (contract.MAX_PER_CATEGORY, contract.ONE_PER_VARIANT, contract.DIVERSITY, contract.EXPLORATION)


class Probes:
    """Makes inputs of every signature.

    Every fourth row has no history, every second one a query made of titles of items, so that all branches of the graph
    are taken; among the ids are unknown and empty ones. Of eight rows one asks for no rule and the others for one
    or several.

    Args:
        preparation: Catalogue and features.
        sequences: Users to draw from.
        inputs: Which inputs the signatures have.
    """

    def __init__(self, preparation: Preparation, sequences: Sequences, inputs: SignatureInputs) -> None:
        self._preparation = preparation
        self._sequences = sequences
        self._inputs = inputs

    def of(self, signature: str, rows: int, *, list_rules: bool = True) -> Arrays:
        """Inputs of a signature by name, `rows` rows.

        Args:
            signature: Its name.
            rows: How many.
            list_rules: Without them a request holds only rules that need no second look at the list.
        """
        base = signature.removesuffix(f"_{contract.EXAMPLES}")
        base = "recommend" if base == contract.DEFAULT_SIGNATURE else base
        arrays = self._plain(base, rows)
        if contract.SEED in arrays and not list_rules:
            arrays |= {name: neutral(name, rows) for name in _LIST_RULES}
        return (
            {contract.EXAMPLES: to_examples(arrays)}
            if signature.endswith(f"_{contract.EXAMPLES}")
            else arrays
        )

    def histories(self, rows: int) -> Arrays:
        """Inputs of `embed_query` for at most `rows` users, each with a history and no text."""
        rows = min(rows, len(self._sequences))
        arrays = self._query_side(rows) if rows else {}
        if contract.QUERY in arrays:
            arrays[contract.QUERY] = _strings([""] * rows)
        keep = [] if not rows else [any(row) for row in arrays[contract.HISTORY_ITEM_ID].tolist()]
        return {name: array[np.asarray(keep, bool)] for name, array in arrays.items()}

    def _plain(self, signature: str, rows: int) -> Arrays:
        if signature == "describe":
            return {"detail": _strings([""] * rows)}
        if signature == "similar_items":
            return {contract.ITEM_ID: _strings([self._item(row) for row in range(rows)])}
        if signature == "embed_item":
            return self._raw_items(rows)
        arrays = self._query_side(rows, _EXPLAINED_EVENTS if signature == "explain" else None)
        if signature in ("recommend", "retrieve"):
            arrays |= self._rules(rows)
        if signature in ("rank", "explain"):
            ids = [
                [self._item(row + column) for column in range(9)] + ["no such item"] for row in range(rows)
            ]
            arrays[contract.ITEM_ID] = _strings(ids)
        return arrays

    def _rules(self, rows: int) -> Arrays:
        def every_eighth(name: str, rules: dict[int, Any]) -> npt.NDArray[Any]:
            dtype, (empty,) = NEUTRAL[name]
            return np.asarray([rules.get(row % 8, empty) for row in range(rows)], dtype.as_numpy_dtype)

        allowed = [[self._item(row + step) for step in range(12)] for row in range(rows)]
        return {
            contract.EXCLUDE_ITEM_ID: _strings([[self._item(row + 1), ""] for row in range(rows)]),
            contract.ALLOW_ITEM_ID: _strings(
                [[*ids, "no such item"] if row % 8 == 7 else [""] * 13 for row, ids in enumerate(allowed)]
            ),
            contract.ALLOW_CATEGORY: _strings([[self._category(row)] for row in range(rows)]),
            contract.BLOCK_CATEGORY: _strings(
                [
                    [self._category(row + 2), "no such category"] if row % 8 == 6 else ["", ""]
                    for row in range(rows)
                ]
            ),
            contract.MAX_PER_CATEGORY: every_eighth(contract.MAX_PER_CATEGORY, {1: 3, 5: 1, 7: 2}),
            contract.MIN_SCORE: every_eighth(contract.MIN_SCORE, {2: 0.0}),
            contract.ONE_PER_VARIANT: every_eighth(contract.ONE_PER_VARIANT, {3: 1, 5: 1}),
            contract.DIVERSITY: every_eighth(contract.DIVERSITY, {3: 0.3, 4: 0.7}),
            contract.EXPLORATION: every_eighth(contract.EXPLORATION, {4: 0.5, 6: 2.0, 7: 0.1}),
            contract.SEED: np.arange(rows, dtype=np.int64) * 7919,
        }

    def _query_side(self, rows: int, most: int | None = None) -> Arrays:
        """Inputs of `embed_query`; of a history at most its last `most` events."""
        users = [row % max(1, len(self._sequences)) for row in range(rows)]
        spans = [self._span(user, row) for row, user in enumerate(users)]
        spans = [(start if most is None else max(start, stop - most), stop) for start, stop in spans]
        width = max([1, *(stop - start for start, stop in spans)])
        arrays: Arrays = {}
        for name, spec in self._inputs.query_side.items():
            if name == contract.QUERY:
                arrays[name] = _strings([self._wish(row) for row in range(rows)])
            elif spec.shape.rank == 2:
                arrays[name] = self._history(name, spans, width)
            else:
                column = self._sequences.user_columns[name][users]
                arrays[name] = _strings(column) if spec.dtype == tf.string else column.astype(np.float32)
        return arrays

    def _span(self, user: int, row: int) -> tuple[int, int]:
        start, stop = self._sequences.row_splits[user : user + 2]
        return (int(start), int(start) if row % 4 == 3 else int(stop))

    def _history(self, name: str, spans: list[tuple[int, int]], width: int) -> npt.NDArray[Any]:
        ids = self._preparation.catalogue.item_ids
        column: Any = {
            contract.HISTORY_ITEM_ID: lambda place: ids[self._sequences.items[place]],
            contract.HISTORY_TIMESTAMP: lambda place: self._sequences.timestamps[place],
            contract.HISTORY_EVENT: lambda place: self._sequences.events[place],
        }[name]
        empty: Any = 0 if name == contract.HISTORY_TIMESTAMP else ""
        rows = [[column(p) for p in range(*span)] + [empty] * (width - span[1] + span[0]) for span in spans]
        return np.asarray(rows, np.int64) if name == contract.HISTORY_TIMESTAMP else _strings(rows)

    def _raw_items(self, rows: int) -> Arrays:
        catalogue = self._preparation.catalogue
        take = [row % len(catalogue) for row in range(rows)]
        arrays: Arrays = {}
        for name, spec in self._inputs.item.items():
            column = catalogue.columns[name][take]
            if spec.dtype != tf.string:
                arrays[name] = column.astype(np.float32)
            elif spec.shape.rank == 1:
                arrays[name] = _strings(column)
            else:
                lists = [value if isinstance(value, tuple) else (value,) for value in column]
                width = max([1, *(len(values) for values in lists)])
                arrays[name] = _strings([[*values, *[""] * (width - len(values))] for values in lists])
        return arrays

    def _item(self, row: int) -> str:
        return self._preparation.catalogue.item_ids[(7 * row) % len(self._preparation.catalogue)]

    def _title(self, row: int) -> str:
        return self._preparation.catalogue.titles[row % len(self._preparation.catalogue)]

    def _wish(self, row: int) -> str:
        """Nothing, a title, two titles, or one that is not another."""
        joints = {3: ", not ", 5: contract.WISH_SEPARATOR}
        if row % 8 in joints:
            return joints[row % 8].join((self._title(row), self._title(row + 1)))
        return self._title(row) if row % 2 else ""

    def _category(self, row: int) -> str:
        names = [name for spec in self._preparation.spec.item_specs.categories for name in spec.values]
        return names[row % len(names)] if names and row % 3 == 2 else ""


def neutral(name: str, rows: int) -> npt.NDArray[Any]:
    """The input of a rule that `rows` rows do not ask for."""
    dtype, row = NEUTRAL[name]
    return np.repeat(
        _strings(row) if dtype == tf.string else np.asarray(row, dtype.as_numpy_dtype), rows, axis=0
    )


def asks_no_list_rule(arrays: Arrays) -> npt.NDArray[np.bool_]:
    """Bool [B] rows of a request that ask for no rule by which one item of a list decides about another."""
    rows = len(next(iter(arrays.values())))
    plain = np.ones(rows, np.bool_)
    for name in set(_LIST_RULES) & set(arrays):
        _, (nothing,) = NEUTRAL[name]
        plain &= np.isnan(arrays[name]) if np.isnan(nothing) else arrays[name] == nothing
    return plain


def _strings(values: Any) -> npt.NDArray[Any]:
    """Object array of bytes: what a tensor of dtype string is made of."""
    encode = np.frompyfunc(lambda value: value.encode("utf-8") if isinstance(value, str) else value, 1, 1)
    return np.asarray(encode(np.asarray(values, dtype=object)), dtype=object)


def to_examples(arrays: Arrays) -> npt.NDArray[Any]:
    """Object array [B] of serialized tf.train.Examples with one feature an input."""
    rows = len(next(iter(arrays.values())))
    return np.asarray(
        [
            _example({name: array[row : row + 1].ravel() for name, array in arrays.items()})
            for row in range(rows)
        ],
        dtype=object,
    )


def _example(values: Arrays) -> bytes:
    features = {name: _feature(value) for name, value in values.items()}
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized


def _feature(value: npt.NDArray[Any]) -> Any:
    if value.dtype == object:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value.tolist()))
    if np.issubdtype(value.dtype, np.integer):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value.tolist()))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value.tolist()))
