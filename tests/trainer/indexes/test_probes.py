"""Counted probes beside those that a search needs."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.indexes.inverted_file import InvertedFile, build
from trainer.indexes.probes import best_probing
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
    probing = best_probing(parts, QUERIES, best, target)
    probes = probing.probes

    def found(count: int, reach: float = probing.reach) -> float:
        finder = InvertedFile(parts, count, reach)
        return recall(
            lambda some: rows_of(finder.candidates(tf.constant(some), K)), VECTORS, QUERIES, scores[:, 0], K
        )

    assert found(probes) >= target - 1e-9
    if probes > 1:
        assert max(found(probes - 1, reach) for reach in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)) < target


@pytest.mark.parametrize("probes", [1, 4, P, P + 9])
def test_with_so_many_partitions_the_best_order_is_taken(probes):
    parts = build(VECTORS, P, "float32")
    scores, best = true_lists(VECTORS, QUERIES, K)
    chosen = best_probing(parts, QUERIES, best, 0.5, probes)
    assert chosen.probes == probes
    found = {}
    for reach in {chosen.reach, 0.0, 3.0}:
        finder = InvertedFile(parts, probes, reach)
        rows = lambda some, finder=finder: rows_of(finder.candidates(tf.constant(some), K))  # noqa: E731
        found[reach] = recall(rows, VECTORS, QUERIES, scores[:, 0], K)
    assert found[chosen.reach] == max(found.values())


def test_by_hand():
    centroids = np.asarray([[1, 0], [0, 1], [-1, 0]], np.float32)
    rows = np.asarray([[0, 1], [2, -1], [3, 4]], np.int32)
    queries = np.asarray([[1.0, 0.5], [0.1, 1.0]], np.float32)  # partitions 0, 1, 2 and 1, 0, 2
    best = np.asarray([[0, 2], [2, 4]], np.int32)  # in their first and second, first and third partition
    parts = {"centroids": centroids, "spreads": np.zeros((3, 2), np.float32), "rows": rows}
    needed = [best_probing(parts, queries, best, share).probes for share in (0.5, 0.6, 0.75, 0.8, 1.0)]
    assert needed == [1, 2, 2, 3, 3]


def test_a_partition_that_reaches_far_is_read_first():
    centroids = np.asarray([[1, 0], [0.9, 0]], np.float32)
    spreads = np.asarray(
        [[0, 0], [1, 0]], np.float32
    )  # the second reaches from 0.9 to 1.9 within one deviation
    parts = {"centroids": centroids, "spreads": spreads, "rows": np.asarray([[0, 1], [2, 3]], np.int32)}
    probing = best_probing(parts, np.asarray([[1.0, 0.0]], np.float32), np.asarray([[2]], np.int32), 1.0)
    assert (probing.probes, probing.reach) == (1, 1.0)
