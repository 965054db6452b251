"""Counts of integers in bounded memory, mergeable in any order with the same result: for exact quantiles.

Keys are counted as they are until there are too many different ones; then neighbours are joined by dropping
the lowest bit, again and again. How many bits fall depends on the whole collection only (a part never needs
more than the whole), so the result does not depend on how the work was divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MAX_KEYS = 1 << 20


@dataclass(frozen=True)
class Histogram:
    """Numbers of occurrences.

    Attributes:
        keys: [n] int64, ascending: the key divided by 2**level, rounded down.
        counts: [n] int64, positive.
        level: bits that were dropped.
    """

    keys: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    level: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[np.integer], max_keys: int = MAX_KEYS) -> Histogram:
        """Counts values [n]."""
        counted = pc.value_counts(pa.array(np.ascontiguousarray(values, dtype=np.int64)))
        keys, counts = (counted.field(name).to_numpy() for name in ("values", "counts"))
        order = np.argsort(keys)
        return _bounded(keys[order], counts[order], 0, max_keys)

    @classmethod
    def merge(cls, parts: list[Histogram], max_keys: int = MAX_KEYS) -> Histogram:
        """The histogram of everything that the parts counted."""
        level = max((part.level for part in parts), default=0)
        keys = np.concatenate(
            [part.keys >> (level - part.level) for part in parts] or [np.zeros(0, np.int64)]
        )
        counts = np.concatenate([part.counts for part in parts] or [np.zeros(0, np.int64)])
        return _bounded(*_collect(keys, counts), level, max_keys)

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> int:
        """The smallest value, to the resolution of `level`, with more than `share` of all at or below it.

        Raises:
            ValueError: nothing was counted.
        """
        if not len(self.keys):
            raise ValueError("a histogram without values has no quantiles")
        rank = np.searchsorted(np.cumsum(self.counts), share * self.total, side="right")
        return int(self.keys[min(int(rank), len(self.keys) - 1)]) << self.level


def _collect(
    keys: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    unique, inverse = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(unique), dtype=np.int64)
    np.add.at(sums, inverse, counts)
    return unique, sums


def _bounded(
    keys: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], level: int, max_keys: int
) -> Histogram:
    while len(keys) > max(max_keys, 2):  # -1 and 0 stay apart however many bits fall
        keys, counts = _collect(keys >> 1, counts)
        level += 1
    return Histogram(keys, counts, level)


def float_keys(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Integers in the order of the floats [n], so that a histogram can count floats."""
    bits = np.ascontiguousarray(values + np.float32(0.0), dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def float_value(key: int) -> float:
    """The float of a key: the inverse of `float_keys`."""
    bits = key if key >= 0 else 0x80000000 | -key
    return float(np.array([bits], dtype=np.uint32).view(np.float32)[0])
