"""Counted probes beside those that a search needs."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.indexes.inverted_file import InvertedFile, build
from trainer.indexes.probes import fewest_probes
from trainer.indexes.recall import recall, rows_of, true_lists
from trainer.keras_compat import tf

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(600, 6)).astype(np.float32)
QUERIES = RNG.normal(size=(40, 6)).astype(np.float32)
K, P = 10, 24


@pytest.mark.parametrize("target", [0.3, 0.8, 0.95, 1.0])
def test_one_partition_less_would_not_do(target):
    parts = build(VECTORS, P, "float32")
    scores, best = true_lists(VECTORS, QUERIES, K)
    probes = fewest_probes(parts, QUERIES, best, target)

    def found(count: int) -> float:
        finder = InvertedFile(parts, count)
        return recall(
            lambda some: rows_of(finder.candidates(tf.constant(some), K)), VECTORS, QUERIES, scores[:, 0], K
        )

    assert found(probes) >= target - 1e-9
    if probes > 1:
        assert found(probes - 1) < target


def test_by_hand():
    centroids = np.asarray([[1, 0], [0, 1], [-1, 0]], np.float32)
    rows = np.asarray([[0, 1], [2, -1], [3, 4]], np.int32)
    queries = np.asarray([[1.0, 0.5], [0.1, 1.0]], np.float32)  # partitions 0, 1, 2 and 1, 0, 2
    best = np.asarray([[0, 2], [2, 4]], np.int32)  # in their first and second, first and third partition
    parts = {"centroids": centroids, "spreads": np.zeros((3, 2), np.float32), "rows": rows}
    assert [fewest_probes(parts, queries, best, share) for share in (0.5, 0.6, 0.75, 0.8, 1.0)] == [
        1, 2, 2, 3, 3,
    ]  # fmt: skip
