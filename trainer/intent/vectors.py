"""Text vectors of length 1 outside of a graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def unit(vectors: Floats) -> Floats:
    """Vectors float32 [N, E] at length 1; zeros stay zeros."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), np.float32)


def class_means(vectors: Floats, labels: npt.NDArray[np.int32], classes: int) -> Floats:
    """float32 [C, E] mean vectors of the classes at length 1 (weight imprinting, Qi 2018)."""
    sums = np.zeros((classes, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors)
    return unit(sums)


def joined(tuned: Floats, plain: Floats) -> Floats:
    """float32 [N, E + F] whose products are means of two cosines, of vectors [N, E] and [N, F] of length 1."""
    return np.asarray(np.concatenate([tuned, plain], axis=1) * np.sqrt(0.5), np.float32)
