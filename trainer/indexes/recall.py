"""How much of the true list a search finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.indexes.storage import Vectors, blocks

_BATCH = 32
_BLOCK = 262_144
Rows = npt.NDArray[np.int32]
Search = Callable[[Vectors], Rows]


def true_lists(vectors: Vectors, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
    """The k best items of each query, the last one first, the others in no order.

    Args:
        vectors: float32 [N, D]; may be memory-mapped, since it is read in blocks.
        queries: float32 [M, D].
        k: Length of the list; of a smaller catalogue the last one counts.

    Returns:
        float32 [M, k] scores and int32 [M, k] rows.
    """
    k = min(k, len(vectors))
    best = np.full((len(queries), k), -np.inf, np.float32)
    places = np.full((len(queries), k), -1, np.int32)
    for rows in blocks(len(vectors), _BLOCK):
        scores = queries @ np.asarray(vectors[rows], np.float32).T
        for number, row in enumerate(scores):
            better = np.flatnonzero(row > best[number, 0])  # after the first block few
            found = np.concatenate([best[number], row[better]])
            place = np.concatenate([places[number], rows.start + better.astype(np.int32)])
            kept = np.argpartition(found, len(found) - k)[-k:]
            best[number], places[number] = found[kept], place[kept]
    return best, places


def recall(search: Search, vectors: Vectors, queries: Vectors, least: Vectors, k: int) -> float:
    """The share of the k best items that a search finds, averaged over queries.

    An item counts if its score is that of the k-th best or more, so that equal scores are told from misses.

    Args:
        search: int32 [B, k] rows of float32 [B, D] queries; -1 = none.
        vectors: float32 [N, D].
        queries: float32 [M, D].
        least: float32 [M], the score of the k-th best item of each query, see `true_lists`.
        k: Length of the list.
    """
    hits = 0
    for start in range(0, len(queries), _BATCH):
        part = queries[start : start + _BATCH]
        rows = search(part)
        scores = np.einsum("bkd,bd->bk", np.asarray(vectors[np.maximum(rows, 0)], np.float32), part)
        allowance = 1e-5 * np.abs(least[start : start + _BATCH, np.newaxis])  # float32 sums in another order
        hits += int(
            np.count_nonzero((rows >= 0) & (scores >= least[start : start + _BATCH, np.newaxis] - allowance))
        )
    return hits / (len(queries) * min(k, len(vectors)))


def rows_of(found: tuple[Any, Any]) -> Rows:
    """int32 [B, k] rows of a search's scores and rows, -1 where the score is -inf."""
    scores, rows = (part.numpy() for part in found)
    return np.asarray(np.where(np.isfinite(scores), rows, -1), np.int32)
