"""Item vectors on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EmbeddingMap:
    """Points to draw.

    Attributes:
        points: float64 [M, 2].
        groups: the group of each point, by which it is coloured.
        explained: the share of the vectors' variance that the two axes hold.
    """

    points: npt.NDArray[np.float64]
    groups: tuple[str, ...]
    explained: float


def project(
    vectors: npt.NDArray[np.floating],
    groups: Sequence[str] | None = None,
    *,
    max_points: int = 2000,
    max_groups: int = 8,
    seed: int = 0,
) -> EmbeddingMap:
    """The first two principal components of a sample of the items (Pearson, 1901).

    Args:
        vectors: float [N, D], one vector an item.
        groups: One label an item, such as its first category; None = all alike.
        max_points: Items drawn at most.
        max_groups: The most frequent labels that keep their name, all others become "other".
        seed: Of the draw.
    """
    chosen = np.arange(len(vectors))
    if len(vectors) > max_points:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), max_points, replace=False))
    sample = vectors[chosen].astype(np.float64)
    centred = sample - sample.mean(axis=0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    points = (left * strength)[:, :2]
    total = float(np.square(strength).sum())
    explained = float(np.square(strength[:2]).sum()) / total if total else 0.0
    labels = ["" if groups is None else groups[int(item)] for item in chosen]
    return EmbeddingMap(points, _frequent(labels, max_groups), explained)


def _frequent(labels: list[str], count: int) -> tuple[str, ...]:
    names, numbers = np.unique(labels, return_counts=True)
    kept = set(names[np.argsort(-numbers, kind="stable")][:count].tolist())
    return tuple(label if label in kept else "other" for label in labels)
