"""k-means on a sample, in NumPy: where the partitions of an inverted file lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.indexes.partition import assign
from trainer.indexes.storage import Vectors, blocks

SPARE = 1.15
"""Slots for each item: 15 % are free, for new items and so that an item seldom has to leave its nearest partition."""
_POINTS_A_CENTROID = 40
_FREE_ROUNDS, _BALANCED_ROUNDS = 6, 3
_BLOCK = 131_072


def cluster(vectors: Vectors, partitions: int, seed: int) -> Vectors:
    """Lloyd's algorithm (1982) from random members; in the last rounds no cluster may be much larger than another.

    Args:
        vectors: float32 [N, D], at least `partitions` of them; may be memory-mapped. 40 a partition are read.
        partitions: P.
        seed: Of the sample; equal arguments give equal centroids.

    Returns:
        float32 [P, D].
    """
    rng = np.random.default_rng(seed)
    size = min(len(vectors), _POINTS_A_CENTROID * partitions)
    sample = np.asarray(vectors[np.sort(rng.choice(len(vectors), size, replace=False))], np.float32)
    centroids = sample[np.sort(rng.choice(size, partitions, replace=False))]
    rooms = [size] * _FREE_ROUNDS + [int(-(-SPARE * size // partitions))] * _BALANCED_ROUNDS
    for room in rooms:
        centroids = means(sample, assign(sample, centroids, np.full(partitions, room)), centroids)
    return centroids


def means(vectors: Vectors, members: npt.NDArray[np.int64], centroids: Vectors) -> Vectors:
    """float32 [P, D] the mean of each partition's vectors; one without any keeps its centroid.

    Args:
        vectors: float32 [N, D]; may be memory-mapped.
        members: int64 [N] the partition of each vector.
        centroids: float32 [P, D].
    """
    counts = np.bincount(members, minlength=len(centroids))
    sums = np.zeros(centroids.shape, np.float64)
    for rows in blocks(len(vectors), _BLOCK):
        order = np.argsort(members[rows], kind="stable")
        found, starts = np.unique(members[rows][order], return_index=True)
        sums[found] += np.add.reduceat(np.asarray(vectors[rows], np.float64)[order], starts, axis=0)
    filled = counts[:, np.newaxis] > 0
    return np.where(filled, sums / np.maximum(counts, 1)[:, np.newaxis], centroids).astype(np.float32)


def variances(vectors: Vectors, members: npt.NDArray[np.int64], centroids: Vectors) -> Vectors:
    """float32 [P, D] how far each partition's vectors lie from its centroid, squared, in each dimension on average.

    Arguments as in `means`.
    """
    sums = np.zeros(centroids.shape, np.float64)
    for rows in blocks(len(vectors), _BLOCK):
        own = members[rows]
        apart = np.square(np.asarray(vectors[rows], np.float32) - centroids[own])
        order = np.argsort(own, kind="stable")
        found, starts = np.unique(own[order], return_index=True)
        sums[found] += np.add.reduceat(apart[order], starts, axis=0, dtype=np.float64)
    counts = np.bincount(members, minlength=len(centroids))
    return (sums / np.maximum(counts, 1)[:, np.newaxis]).astype(np.float32)
