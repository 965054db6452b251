"""From strings to rows without a hash table: two variables of any length, in stock ops.

TensorFlow's file-backed tables keep the path of the build machine in the graph and are shared by name between all
models of a process, so that a second version of a model would silently look up the ids of the first. Here a string's
64-bit fingerprint is searched in a sorted list, and the string itself is compared in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.errors import ExportError
from trainer.keras_compat import tf

_BUCKETS = 2**63 - 1


class StringLookup(tf.Module):  # type: ignore[misc]
    """Rows of distinct strings.

    Args:
        values: [N] strings; value i has row i.
        name: For the variables.

    Raises:
        ExportError: a string is empty or occurs twice.
    """

    def __init__(self, values: Sequence[str], name: str) -> None:
        super().__init__(name=name)
        parts = lookup_arrays(values)
        self.values = _variable(tf.constant(list(values), tf.string, shape=[len(values)]), f"{name}_values")
        self.fingerprints = _variable(tf.constant(parts["fingerprints"]), f"{name}_fingerprints")
        self.rows = _variable(tf.constant(parts["rows"]), f"{name}_rows")

    def lookup(self, strings: Any) -> Any:
        """int32 rows of strings of any shape; -1 for an unknown one and for ""."""
        flat = tf.reshape(strings, [1, -1])
        wanted = tf.strings.to_hash_bucket_fast(flat, _BUCKETS)
        fingerprints = tf.convert_to_tensor(self.fingerprints)
        # The op behind tf.searchsorted, which wraps it in a dozen others.
        place = tf.raw_ops.LowerBound(sorted_inputs=tf.expand_dims(fingerprints, 0), values=wanted)
        place = tf.minimum(place, tf.size(fingerprints) - 1)
        rows = tf.where(
            tf.gather(fingerprints, place) == wanted, tf.gather(tf.convert_to_tensor(self.rows), place), -1
        )
        found = self.strings(tf.maximum(rows, 0))
        return tf.reshape(tf.where((rows >= 0) & (found == flat), rows, -1), tf.shape(strings))

    def strings(self, rows: Any) -> Any:
        """Strings of int32 rows of any shape; without any values only "" comes back."""
        values = tf.convert_to_tensor(self.values)
        # Not by a "" at the end, which would copy all values in every request.
        return tf.cond(
            tf.size(values) > 0, lambda: tf.gather(values, rows), lambda: tf.fill(tf.shape(rows), "")
        )

    def size(self) -> Any:
        """How many values there are, int32 scalar."""
        return tf.size(tf.convert_to_tensor(self.values))


def lookup_arrays(values: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """What the variables of a lookup hold: "fingerprints" int64 [N + 1], sorted, and their "rows" int32 [N + 1].

    One entry more than values: that of "", with row -1, so that the list is never empty.

    Raises:
        ExportError: a string is empty, or two have the same fingerprint (the same string, or a chance of about
            N^2 / 2^64).
    """
    if "" in values:
        raise ExportError("An empty id or category cannot be looked up.")
    found = fingerprints([*values, ""])
    order = np.argsort(found, kind="stable")
    same = np.flatnonzero(np.diff(found[order]) == 0)
    if len(same):
        first, second = ([*values, ""][place] for place in order[same[0] : same[0] + 2])
        raise ExportError(f"{first!r} and {second!r} cannot be told apart; rename one of them.")
    rows = np.append(np.arange(len(values), dtype=np.int32), np.int32(-1))
    return {"fingerprints": found[order], "rows": rows[order]}


def fingerprints(values: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64 [N] what strings are searched by: their hashes, the same in every process and release."""
    strings = tf.constant(list(values), tf.string, shape=[len(values)])
    hashed: npt.NDArray[np.int64] = tf.strings.to_hash_bucket_fast(strings, _BUCKETS).numpy()
    return hashed


def _variable(value: Any, name: str) -> Any:
    return tf.Variable(value, trainable=False, shape=tf.TensorShape([None]), name=name)
