from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation import metrics

RANKS = np.array([1, 2, 3, 10, 11])


def test_accuracy_at_ten():
    assert metrics.recall(RANKS, 10).tolist() == [1, 1, 1, 1, 0]
    assert metrics.hit_rate(RANKS, 10).tolist() == [1, 1, 1, 1, 0]
    assert metrics.mrr(RANKS, 10) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 10, 0])
    # 1 / log2(2), 1 / log2(3), 1 / log2(4), 1 / log2(11)
    assert metrics.ndcg(RANKS, 10) == pytest.approx([1, 0.6309298, 0.5, 0.2890648, 0])


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1, 100), st.integers(0, 100))
def test_accuracy_lies_between_zero_and_one_and_grows_with_k(ranks: list[int], k: int, more: int):
    array = np.array(ranks)
    for name, function in metrics.ACCURACY.items():
        short, long = function(array, k), function(array, k + more)
        assert ((short >= 0) & (short <= 1)).all(), name
        assert (long >= short).all(), name
    assert (metrics.mrr(array, k) <= metrics.ndcg(array, k)).all()
    assert (metrics.ndcg(array, k) <= metrics.recall(array, k)).all()


def test_coverage():
    assert metrics.coverage(np.array([3, 0, 1, 0])) == 0.5
    assert metrics.coverage(np.zeros(0, int)) == 0.0


def test_gini_of_known_distributions():
    assert metrics.gini(np.array([5, 5, 5, 5])) == pytest.approx(0.0)
    assert metrics.gini(np.array([0, 0, 0, 7])) == pytest.approx(1.0)
    # ascending 1, 2, 3: (-2 * 1 + 0 * 2 + 2 * 3) / (2 * 6) = 1/3
    assert metrics.gini(np.array([2, 3, 1])) == pytest.approx(1 / 3)
    assert metrics.gini(np.zeros(4, int)) == 0.0


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=30))
def test_gini_is_half_the_mean_absolute_difference_over_the_mean(exposure: list[int]):
    array = np.array(exposure)
    value = metrics.gini(array)
    assert -1e-9 <= value <= 1 + 1e-9
    if array.sum():
        pairs = np.abs(array[:, None] - array).sum() / (len(array) * (len(array) - 1))
        assert value == pytest.approx(pairs / (2 * array.mean()))


def test_novelty_in_bits():
    # Counts 5, 1 smoothed to 6/8 and 2/8 = -log2 0.415 and 2 bits; shown three times and once.
    assert metrics.novelty(np.array([3, 1]), np.array([5, 1])) == pytest.approx((3 * np.log2(4 / 3) + 2) / 4)
    assert metrics.novelty(np.zeros(2, int), np.array([5, 1])) == 0.0


def test_diversity_of_known_lists():
    vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2], [0, 3, -1], [0, -1, -1]])
    # Same direction; orthogonal; two of three pairs orthogonal; a zero vector; no pair at all.
    assert metrics.intra_list_diversity(lists, vectors) == pytest.approx(
        [0, 1, 2 / 3, 1, np.nan], nan_ok=True
    )


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_diversity_agrees_with_all_pairs(seed: int, size: int):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, 3))
    items = rng.choice(12, size, replace=False)
    units = vectors[items] / np.linalg.norm(vectors[items], axis=1, keepdims=True)
    pairs = [1 - units[i] @ units[j] for i in range(size) for j in range(size) if i != j]
    assert metrics.intra_list_diversity(items[None], vectors) == pytest.approx([np.mean(pairs)])
