"""How many partitions must be read to find a share of the true lists, counted instead of tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.indexes.inverted_file import REACH
from trainer.indexes.recall import Rows
from trainer.indexes.storage import Vectors


def fewest_probes(parts: dict[str, npt.NDArray[Any]], queries: Vectors, best: Rows, target: float) -> int:
    """The fewest partitions, most promising first, that hold a share of the best items.

    A search that reads so many finds that share, less what it loses by rounding.

    Args:
        parts: "centroids", "spreads" and "rows", see `trainer.indexes.inverted_file.build`.
        queries: float32 [M, D].
        best: int32 [M, k] rows of the best items of each query.
        target: The share.
    """
    rows = parts["rows"]
    taken = np.flatnonzero(rows >= 0)
    partition = np.empty(len(taken), np.int64)
    partition[rows.reshape(-1)[taken]] = taken // rows.shape[1]
    counts = np.zeros(len(rows), np.int64)
    for query, items in zip(queries, best, strict=True):
        products = parts["centroids"] @ query + REACH * np.sqrt(parts["spreads"] @ np.square(query))
        nearer = np.searchsorted(np.sort(-products), -products[partition[items]])
        counts += np.bincount(nearer, minlength=len(rows))
    return min(int(np.searchsorted(np.cumsum(counts), target * best.size)) + 1, len(rows))
