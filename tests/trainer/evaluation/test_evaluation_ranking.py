from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import ItemFacts, evaluate, ranks_of_targets, top_items

NAN, INF = np.nan, np.inf


def rank(scores: list[float], target: int, excluded: tuple[list[int], list[int]] | None = None) -> int:
    pairs = None if excluded is None else (np.array(excluded[0]), np.array(excluded[1]))
    return int(ranks_of_targets(np.array([scores], np.float32), np.array([target]), pairs)[0])


def test_rank_counts_items_with_a_higher_score():
    assert rank([0.1, 0.9, 0.5], 2) == 2


def test_ties_count_against_the_target():
    assert rank([0.5, 0.5, 0.5, 0.1], 0) == 3


def test_nan_never_wins():
    assert rank([NAN, 0.5, 0.7], 1) == 2
    assert rank([0.1, NAN, -INF], 1) == 3  # a NaN target stands behind everything, other lowest scores too
    assert rank([NAN, NAN, -INF], 2) == 3


def test_excluded_items_leave_the_ranking_but_the_target_stays():
    assert rank([0.9, 0.8, 0.7], 2, ([0, 0, 0], [0, 0, 2])) == 2


scores_and_targets = st.integers(1, 5).flatmap(
    lambda rows: st.integers(1, 8).flatmap(
        lambda columns: st.tuples(
            hnp.arrays(
                np.float32, (rows, columns), elements=st.sampled_from([NAN, -INF, -1.0, 0.0, 1.0, INF])
            ),
            hnp.arrays(np.int32, rows, elements=st.integers(0, columns - 1)),
            hnp.arrays(np.bool_, (rows, columns)),
        )
    )
)


@settings(deadline=None)
@given(scores_and_targets)
def test_rank_agrees_with_sorting_the_worst_case_list(case):
    scores, targets, hidden = case
    got = ranks_of_targets(scores, targets, np.nonzero(hidden))
    for row, target in enumerate(targets):
        candidates = [c for c in range(scores.shape[1]) if c == target or not hidden[row, c]]
        # Descending score, NaN as the lowest, the target last among equals.
        key = {
            c: (-np.nan_to_num(scores[row, c], nan=-INF, posinf=INF, neginf=-INF), c == target)
            for c in candidates
        }
        assert got[row] == sorted(candidates, key=key.__getitem__).index(target) + 1


@settings(deadline=None)
@given(scores_and_targets, st.integers(1, 10))
def test_top_items_are_the_best_that_remain(case, k):
    scores, _, hidden = case
    lists = top_items(scores, k, np.nonzero(hidden))
    assert lists.shape == (len(scores), k)
    for row in range(len(scores)):
        possible = [
            c
            for c in range(scores.shape[1])
            if not hidden[row, c] and not np.isnan(scores[row, c]) and scores[row, c] > -INF
        ]
        expected = sorted(possible, key=lambda c: (-scores[row, c], c))[:k]
        assert lists[row].tolist() == expected + [-1] * (k - len(expected))


def small_queries() -> EvaluationQueries:
    """One user: 0, 1 | 2, 0 (bought again)."""
    return EvaluationQueries.from_sequences(np.array([0, 1, 2, 0]), np.array([0, 4]), np.array([2]))


def constant(scores: list[float]):
    return lambda start, stop: np.tile(np.array(scores, np.float32), (stop - start, 1))


def test_evaluate_derives_metrics_from_ranks():
    # Scores 0 > 3 > 1 > 2. Query 0: target 2, history {0, 1} left out -> behind 3: rank 2, list (3).
    # Query 1: target 0, history {0, 1, 2} left out but for the target itself: rank 1, list (0).
    result = evaluate(small_queries(), constant([0.95, 0.7, 0.6, 0.9]), ks=(1, 2), batch_size=1)
    assert result.ranks.tolist() == [2, 1]
    assert result.metrics["recall@1"] == 0.5
    assert result.metrics["recall@2"] == 1.0
    assert result.metrics["ndcg@2"] == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert result.metrics["mrr@2"] == 0.75
    assert result.exposure.tolist() == [1, 0, 0, 1]
    assert result.metrics["coverage@1"] == 0.5
    # ascending 0, 0, 1, 1: (-3 * 0 - 1 * 0 + 1 * 1 + 3 * 1) / (3 * 2)
    assert result.metrics["gini@1"] == pytest.approx(2 / 3)


def test_evaluate_can_keep_the_history_in():
    result = evaluate(small_queries(), constant([0.8, 0.7, 0.6, 0.9]), exclude_history=False)
    assert result.ranks.tolist() == [4, 2]


def test_batch_size_changes_nothing():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, 20)
    queries = EvaluationQueries.from_sequences(
        rng.integers(-1, 30, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]), lengths // 2
    )
    table = rng.normal(size=(len(queries), 30)).astype(np.float32)
    facts = ItemFacts(rng.integers(0, 9, 30), rng.normal(size=(30, 4)))
    results = [
        evaluate(queries, lambda a, b: table[a:b], batch_size=size, facts=facts) for size in (1, 7, 500)
    ]
    for other in results[1:]:
        assert other.ranks.tolist() == results[0].ranks.tolist()
        assert other.metrics == pytest.approx(results[0].metrics)
    assert {"novelty@10", "diversity@10"} <= results[0].metrics.keys()


def test_progress_reports_queries_done():
    calls: list[tuple[int, int]] = []
    evaluate(small_queries(), constant([0.0] * 4), batch_size=1, progress=lambda *done: calls.append(done))
    assert calls == [(1, 2), (2, 2)]


def test_evaluate_says_what_is_wrong():
    empty = EvaluationQueries.from_sequences(np.array([0]), np.array([0, 1]), np.array([1]))
    with pytest.raises(ValueError, match="no query to evaluate"):
        evaluate(empty, constant([0.0]))
    with pytest.raises(ValueError, match="ks must be positive"):
        evaluate(small_queries(), constant([0.0] * 4), ks=(0,))
    with pytest.raises(ValueError, match=r"scores of shape \(2, 2\), expected .* at least 3 columns"):
        evaluate(small_queries(), constant([0.0, 1.0]))
