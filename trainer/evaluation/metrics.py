"""Metrics of ranked lists, as pure functions.

Accuracy metrics take the 1-based rank of the one relevant item of each query and return one value a query,
so that means, slices, intervals and paired tests all start from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.integer]


def hit_rate(ranks: Ranks, k: int) -> FloatArray:
    """1 where the target is among the first `k`, else 0.

    Args:
        ranks: integer [Q], 1-based rank of each query's target.
        k: Length of the list that a user would see.

    Returns:
        float64 [Q].
    """
    return (ranks <= k).astype(np.float64)


def recall(ranks: Ranks, k: int) -> FloatArray:
    """Share of the relevant items among the first `k`: with one relevant item, the same as the hit rate.

    Both names are kept because published tables use both.
    """
    return hit_rate(ranks, k)


def ndcg(ranks: Ranks, k: int) -> FloatArray:
    """Discounted cumulative gain with base-2 discount (Järvelin and Kekäläinen, 2002) over its ideal.

    The ideal list has the one relevant item first, at gain 1 / log2(2) = 1, so the value is
    ``1 / log2(1 + rank)`` for ranks up to `k` and 0 beyond.
    """
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def mrr(ranks: Ranks, k: int) -> FloatArray:
    """Reciprocal of the rank for ranks up to `k`, 0 beyond (Voorhees, 1999)."""
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


#: The accuracy metrics by the names that reports use.
ACCURACY: dict[str, Callable[[Ranks, int], FloatArray]] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": mrr,
    "hit_rate": hit_rate,
}


def accuracy_values(ranks: Ranks, ks: tuple[int, ...]) -> dict[str, FloatArray]:
    """Every accuracy metric at every k: name such as ``ndcg@10`` to float64 [Q], one value a query."""
    return {f"{name}@{k}": function(ranks, k) for k in ks for name, function in ACCURACY.items()}


def coverage(exposure: npt.NDArray[np.integer]) -> float:
    """Share of the catalogue that was recommended to anyone.

    Args:
        exposure: integer [N], how often each item of the catalogue stood in a list.
    """
    return float(np.count_nonzero(exposure) / len(exposure)) if len(exposure) else 0.0


def gini(exposure: npt.NDArray[np.integer]) -> float:
    """Gini coefficient of the exposure: 0 = all items are shown equally often, 1 = one item takes all.

    With the exposures in ascending order ``x_1 <= ... <= x_N`` (Shani and Gunawardana, 2011)::

        G = sum_j (2 j - N - 1) x_j / ((N - 1) sum_j x_j)

    The factor ``N - 1`` in place of ``N`` lets a catalogue of any size reach 1. Without any exposure: 0.
    """
    size, total = len(exposure), float(np.sum(exposure))
    if size < 2 or total == 0:
        return 0.0
    weight = 2.0 * np.arange(1, size + 1) - size - 1
    return float(weight @ np.sort(exposure) / ((size - 1) * total))


def novelty(exposure: npt.NDArray[np.integer], training_counts: npt.NDArray[np.integer]) -> float:
    """Mean self-information of the recommended items, in bits (Vargas and Castells, 2011).

    An item with ``c`` of all ``C`` training events carries ``-log2((c + 1) / (C + N))`` bits: counts are
    smoothed by one (Laplace), so that an item without any event has a finite value.

    Args:
        exposure: integer [N], how often each item stood in a list.
        training_counts: integer [N], training events of each item.
    """
    shown = float(np.sum(exposure))
    if shown == 0:
        return 0.0
    probability = (training_counts + 1.0) / (np.sum(training_counts) + len(training_counts))
    return float(exposure @ -np.log2(probability) / shown)


def intra_list_diversity(
    lists: npt.NDArray[np.integer], item_vectors: npt.NDArray[np.floating]
) -> FloatArray:
    """Mean cosine distance over the pairs of a list (Ziegler et al., 2005).

    For unit vectors the sum over ordered pairs i != j of ``v_i . v_j`` is ``|sum_i v_i|^2 - n``, so a list of
    n items costs n additions and no pair is formed.

    Args:
        lists: integer [B, K], catalogue indices, -1 = padding.
        item_vectors: float [N, D], one vector an item. A vector of zeros is at distance 1 from all others.

    Returns:
        float64 [B], NaN for a list with fewer than two items.
    """
    present = lists >= 0
    vectors = item_vectors[np.maximum(lists, 0)].astype(np.float64) * present[..., None]
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    units = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    total = np.square(units.sum(axis=1)).sum(axis=-1) - np.square(units).sum(axis=(1, 2))
    pairs = present.sum(axis=1) * (present.sum(axis=1) - 1.0)
    similarity: FloatArray = np.divide(total, pairs, out=np.full(len(lists), np.nan), where=pairs > 0)
    return np.subtract(1.0, similarity)
