"""Neighbours of items, what they say of candidates, and how much they count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("tensorflow", reason="the trainer needs twotower[train]")

from trainer.errors import RunError
from trainer.evaluation.baselines.base import interaction_matrix
from trainer.evaluation.baselines.ease import EASE
from trainer.neighbours import table as tables
from trainer.neighbours.blend import best_blend, ndcg
from trainer.neighbours.scores import neighbour_scores
from trainer.neighbours.table import NeighbourTable
from trainer.neighbours.weights import Blend

# Four users: items 0, 1 and 2 go together, and so do 3 and 4.
ITEMS = np.asarray([0, 1, 2, 0, 1, 3, 4, 3, 4, 0, -1])
SPLITS = np.asarray([0, 3, 5, 7, 11])


def dense(table: NeighbourTable) -> np.ndarray:
    """float32 [T + 1, T + 1] of a table."""
    size = len(table.ids)
    weights = np.zeros((size, size), np.float32)
    np.add.at(weights, (np.arange(size)[:, None], table.ids), table.weights)
    return weights


def test_a_table_that_keeps_everything_is_ease():
    table = NeighbourTable.learned(ITEMS, SPLITS, 5, neighbours=10)
    expected = EASE(regularization=100.0).fit(ITEMS, SPLITS, 5)._weights
    np.testing.assert_array_equal(dense(table)[1:, 1:], expected)
    assert not dense(table)[0].any()
    assert not dense(table)[:, 0].any()


def test_the_largest_weights_are_kept_whatever_their_sign():
    full = dense(NeighbourTable.learned(ITEMS, SPLITS, 5, neighbours=10))
    table = NeighbourTable.learned(ITEMS, SPLITS, 5, neighbours=2)
    assert table.ids.shape == (6, 2)
    for row in range(1, 6):
        best = set(np.argsort(-np.abs(full[row]))[:2].tolist())
        assert set(table.ids[row].tolist()) == best
    np.testing.assert_array_equal(dense(table), np.where(dense(table) != 0, full, 0))


def test_large_catalogues_take_cosines(monkeypatch):
    monkeypatch.setattr(tables, "EASE_ITEMS", 4)
    weights = dense(NeighbourTable.learned(ITEMS, SPLITS, 5, neighbours=4))
    users = interaction_matrix(ITEMS, SPLITS, 5).toarray()
    together, counts = users.T @ users, users.sum(axis=0)
    cosine = together / (np.sqrt(np.outer(counts, counts)) + 10)
    np.fill_diagonal(cosine, 0)
    np.testing.assert_allclose(weights[1:, 1:], cosine, rtol=1e-6)


def test_a_table_comes_back_from_its_file(tmp_path):
    table = NeighbourTable.learned(ITEMS, SPLITS, 5, neighbours=3)
    table.save(tmp_path / "neighbours.npz")
    again = NeighbourTable.load(tmp_path / "neighbours.npz")
    np.testing.assert_array_equal(again.ids, table.ids)
    np.testing.assert_array_equal(again.weights, table.weights)
    (tmp_path / "neighbours.npz").write_bytes(b"PK broken")
    with pytest.raises(RunError, match="Train again"):
        NeighbourTable.load(tmp_path / "neighbours.npz")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_scores_are_sums_over_the_history(data):
    trained, kept, rows, length, count = (data.draw(st.integers(1, most)) for most in (6, 4, 3, 5, 6))
    numbers = st.integers(0, trained)
    ids = data.draw(hnp.arrays(np.int32, (trained + 1, kept), elements=numbers))
    ids[0] = 0
    weights = data.draw(hnp.arrays(np.float32, ids.shape, elements=st.integers(-8, 8))) * (ids > 0)
    history = data.draw(hnp.arrays(np.int32, (rows, length), elements=numbers))
    wanted = data.draw(hnp.arrays(np.int32, (rows, count), elements=numbers))
    half_life = data.draw(st.sampled_from([None, 1.0, 4.0]))
    found = neighbour_scores(ids, weights.astype(np.float32), history, wanted, half_life).numpy()
    expected = np.zeros(wanted.shape)
    for row in range(rows):
        events = [event for event in history[row] if event]
        for age, event in enumerate(reversed(events)):
            recency = 1.0 if half_life is None else 0.5 ** (age / half_life)
            for neighbour, weight in zip(ids[event], weights[event], strict=True):
                expected[row] += np.where((wanted[row] == neighbour) & (neighbour > 0), recency * weight, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_empty_history_says_nothing():
    table = NeighbourTable.learned(ITEMS, SPLITS, 5, neighbours=3)
    found = neighbour_scores(
        table.ids, table.weights, np.zeros((2, 0), np.int32), np.ones((2, 3), np.int32), 4.0
    )
    np.testing.assert_array_equal(found, np.zeros((2, 3)))
    nobody = neighbour_scores(
        table.ids, table.weights, np.ones((2, 4), np.int32), np.zeros((2, 0), np.int32), 4.0
    )
    assert nobody.shape == (2, 0)


def test_ndcg_counts_ties_against_the_target_and_targets_that_were_not_found():
    scores = np.asarray([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    wanted = np.asarray([[True, False, False], [True, False, False], [False, False, False]])
    assert ndcg(scores, wanted) == pytest.approx((1.0 + 1 / np.log2(3)) / 3)


def opinions(wanted: np.ndarray, *, correction: float, neighbours: float) -> np.ndarray:
    """Retrieval at random; the others move the target up or down."""
    retrieval = np.random.default_rng(1).normal(size=wanted.shape).astype(np.float32)
    return np.stack([retrieval, retrieval + correction * wanted, retrieval + neighbours * wanted])


@pytest.mark.parametrize(
    ("correction", "neighbours", "heard"),
    [(-2.0, -2.0, (False, False)), (3.0, -2.0, (True, False)), (-2.0, 3.0, (False, True))],
)
def test_only_what_helps_is_heard(correction, neighbours, heard):
    wanted = np.eye(30, dtype=bool)
    scores = opinions(wanted, correction=correction, neighbours=neighbours)
    blend, figures = best_blend(scores, wanted, (4.0,))
    assert (blend.correction > 0, blend.neighbours > 0) == heard
    assert figures["retrieval"] == pytest.approx(ndcg(scores[0], wanted))
    chosen = (
        scores[0] + blend.correction * (scores[1] - scores[0]) + blend.neighbours * (scores[2] - scores[0])
    )
    assert figures["blend"] == pytest.approx(ndcg(chosen, wanted))
    assert (figures["blend"] > figures["retrieval"]) == any(heard)


def test_a_model_without_neighbours_can_be_blended():
    wanted = np.eye(30, dtype=bool)
    blend, _ = best_blend(opinions(wanted, correction=3.0, neighbours=0.0)[:2], wanted, ())
    assert blend.correction > 0
    assert blend == Blend(blend.correction)
