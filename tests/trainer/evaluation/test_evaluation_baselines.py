from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.baselines import item_knn
from trainer.evaluation.baselines.base import history_matrix, interaction_matrix
from trainer.evaluation.baselines.item_knn import ItemKNN
from trainer.evaluation.baselines.popularity import Popularity
from trainer.evaluation.baselines.tuning import tune
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.neighbours import cosine

#: Users {0, 1}, {0, 1}, {0, 2}, {3}; item 4 has no user.
ITEMS, SPLITS = np.array([0, 1, 0, 1, 0, 2, 3, -1]), np.array([0, 2, 4, 6, 8])


def one_query(history: list[int], target: int = 0) -> EvaluationQueries:
    events = np.array([*history, target])
    return EvaluationQueries.from_sequences(events, np.array([0, len(events)]), np.array([len(history)]))


def test_popularity_scores_by_training_events():
    scores = Popularity().fit(ITEMS, SPLITS, 5).scorer(one_query([2]))(0, 1)
    assert scores.tolist() == [[3, 2, 1, 1, 0]]


def test_interactions_are_binary_and_known():
    matrix = interaction_matrix(np.array([1, 1, -1, 0]), np.array([0, 3, 4]), 2)
    assert matrix.toarray().tolist() == [[0, 1], [1, 0]]


def test_history_weights_halve_with_each_half_life():
    weights = history_matrix(one_query([3, 1, 3]), 0, 1, 4, half_life=1.0).toarray()
    assert weights.tolist() == [[0, 0.5, 0, 1.25]]
    assert history_matrix(one_query([3, 1, 3]), 0, 1, 4).toarray().tolist() == [[0, 1, 0, 2]]


@pytest.mark.parametrize("dense_items", [0, 4096])
def test_item_knn_scores_are_shrunken_cosines(monkeypatch, dense_items):
    monkeypatch.setattr(item_knn, "_DENSE_ITEMS", dense_items)
    scores = ItemKNN(10, shrinkage=1.0).fit(ITEMS, SPLITS, 5).scorer(one_query([0, 2]))(0, 1)[0]
    # To 0: 1 has 2 / (sqrt(3 * 2) + 1), 2 has 1 / (sqrt(3 * 1) + 1); to 2: 0 has the same as 2 to 0.
    assert scores[:3] == pytest.approx([1 / (3**0.5 + 1), 2 / (6**0.5 + 1), 1 / (3**0.5 + 1)])
    # 3 and 4 are like nothing in the history: below all others, the popular one first.
    assert 0 > scores[3] > scores[4]


def test_item_knn_keeps_only_the_nearest_neighbours():
    scores = ItemKNN(1, shrinkage=0.0).fit(ITEMS, SPLITS, 5).scorer(one_query([0]))(0, 1)[0]
    assert scores[1] == pytest.approx(2 / 6**0.5)
    assert scores[2] < 0


def test_item_knn_in_blocks_is_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    items, splits = rng.integers(0, 40, 400), np.arange(0, 401, 10)
    queries = one_query([3, 5, 8])
    whole = ItemKNN(5).fit(items, splits, 40).scorer(queries)(0, 1)
    monkeypatch.setattr(cosine, "_ITEMS_PER_BLOCK", 7)
    assert ItemKNN(5).fit(items, splits, 40).scorer(queries)(0, 1).tolist() == whole.tolist()


def test_item_knn_without_history_ranks_by_popularity():
    scores = ItemKNN().fit(ITEMS, SPLITS, 5).scorer(one_query([]))(0, 1)[0]
    assert np.argsort(-scores, kind="stable").tolist() == [0, 1, 2, 3, 4]


def checkerboard() -> tuple[np.ndarray, np.ndarray, EvaluationQueries]:
    """Even users have all even items, odd users all odd ones, each but the one that has to be found."""
    size = 20
    have = [[i for i in range(size) if i % 2 == u % 2 and i != u] for u in range(size)]
    splits = np.arange(size + 1) * len(have[0])
    wanted = np.concatenate([[*events, user] for user, events in enumerate(have)])
    queries = EvaluationQueries.from_sequences(
        wanted, np.arange(size + 1) * (len(have[0]) + 1), np.full(size, len(have[0]))
    )
    return np.concatenate(have), splits, queries


def test_item_knn_solves_the_checkerboard():
    items, splits, queries = checkerboard()
    fitted = ItemKNN().fit(items, splits, 20)
    assert evaluate(queries, fitted.scorer(queries), (1,)).metrics["recall@1"] == 1.0
    popular = Popularity().fit(items, splits, 20)
    assert evaluate(queries, popular.scorer(queries), (1,)).metrics["recall@1"] < 0.2


def test_tuning_keeps_the_best_candidate_and_lists_all():
    items, splits, queries = checkerboard()
    tuned = tune(
        [ItemKNN(0), ItemKNN(9), ItemKNN(10)], items, splits, 20, queries, metric="recall@1", max_queries=1000
    )
    assert tuned.best.neighbours == 9
    assert tuned.value == 1.0
    assert [settings["neighbours"] for settings, _ in tuned.tried] == [0, 9, 10]
    assert tuned.tried[0][1] < 1.0
    with pytest.raises(ValueError, match="at least one candidate"):
        tune([], items, splits, 20, queries)


def test_the_grid_has_different_settings():
    settings = [tuple(candidate.settings().values()) for candidate in ItemKNN.grid()]
    assert len(set(settings)) == len(settings) == 60
