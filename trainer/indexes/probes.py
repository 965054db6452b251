"""Which partitions to read, and how many, to find a share of the true lists: counted instead of tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.indexes.recall import Rows
from trainer.indexes.storage import Vectors

_TOLERANCE = 1e-9
_REACHES = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Probing:
    """What a query reads.

    Attributes:
        probes: How many partitions.
        reach: In which order: by the score that lies so many standard deviations of the members' scores above the
            centroid's.
    """

    probes: int
    reach: float


def best_probing(
    parts: dict[str, npt.NDArray[Any]],
    queries: Vectors,
    best: Rows,
    target: float,
    probes: int | None = None,
) -> Probing:
    """The fewest partitions that hold a share of the best items, in the order that needs the fewest.

    A search that reads them finds that share, less what it loses by rounding.

    Args:
        parts: "centroids", "spreads" and "rows", see `trainer.indexes.inverted_file.build`.
        queries: float32 [M, D].
        best: int32 [M, k] rows of the best items of each query.
        target: The share.
        probes: So many, in the order that finds the most; None = the fewest.
    """
    found = {reach: _found(parts, queries, best, reach) for reach in _REACHES}
    if probes is not None:
        return Probing(probes, max(found, key=lambda reach: found[reach][min(probes, len(found[reach])) - 1]))
    fewest = {reach: int(np.searchsorted(shares, target - _TOLERANCE)) + 1 for reach, shares in found.items()}
    reach = min(fewest, key=fewest.__getitem__)
    return Probing(min(fewest[reach], len(parts["rows"])), reach)


def _found(parts: dict[str, npt.NDArray[Any]], queries: Vectors, best: Rows, reach: float) -> Vectors:
    """Float [P] the share of the best items that lies in the first 1, 2, ... partitions of each query's order."""
    rows = parts["rows"]
    taken = np.flatnonzero(rows >= 0)
    partition = np.empty(len(taken), np.int64)
    partition[rows.reshape(-1)[taken]] = taken // rows.shape[1]
    counts = np.zeros(len(rows), np.int64)
    for query, items in zip(queries, best, strict=True):
        promise = parts["centroids"] @ query + reach * np.sqrt(parts["spreads"] @ np.square(query))
        before = np.searchsorted(np.sort(-promise), -promise[partition[items]])
        counts += np.bincount(before, minlength=len(rows))
    return np.asarray(np.cumsum(counts) / best.size)
