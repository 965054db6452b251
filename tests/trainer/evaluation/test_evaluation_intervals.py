from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation import intervals
from trainer.evaluation.intervals import bootstrap_intervals, paired_comparison


def test_interval_of_independent_values_has_the_textbook_width():
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    interval = bootstrap_intervals({"x": values}, np.arange(4000))["x"]
    assert interval.value == pytest.approx(values.mean())
    # 1.96 standard errors = 1.96 * 2 / sqrt(4000) = 0.062 on each side, give or take.
    assert interval.high - interval.value == pytest.approx(0.062, rel=0.15)
    assert interval.value - interval.low == pytest.approx(0.062, rel=0.15)


def test_values_of_one_user_count_once():
    users = np.random.default_rng(0).normal(size=100)
    repeated, groups = np.repeat(users, 50), np.repeat(np.arange(100), 50)
    by_user = bootstrap_intervals({"x": repeated}, groups)["x"]
    single = bootstrap_intervals({"x": users}, np.arange(100))["x"]
    assert (by_user.low, by_user.high) == pytest.approx((single.low, single.high))
    naive = bootstrap_intervals({"x": repeated}, np.arange(5000))["x"]
    assert by_user.high - by_user.low > 5 * (naive.high - naive.low)  # sqrt(50) = 7.1


def test_mean_is_over_queries_not_over_users():
    interval = bootstrap_intervals({"x": np.array([1.0, 1.0, 1.0, 0.0])}, np.array([0, 0, 0, 1]))["x"]
    assert interval.value == 0.75


def test_a_constant_has_no_width():
    interval = bootstrap_intervals({"x": np.ones(40)}, np.repeat(np.arange(4), [1, 2, 7, 30]))["x"]
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_intervals_are_seeded():
    values, groups = {"x": np.random.default_rng(1).random(50)}, np.arange(50)
    assert bootstrap_intervals(values, groups, seed=4) == bootstrap_intervals(values, groups, seed=4)
    assert bootstrap_intervals(values, groups, seed=4) != bootstrap_intervals(values, groups, seed=5)
    assert bootstrap_intervals({}, groups) == {}


def test_p_value_of_a_tiny_sample_is_that_of_all_permutations():
    # Three users, all better by 1: of the 8 sign patterns two (+++ and ---) are as extreme: p = 1/4.
    outcome = paired_comparison(np.ones(3), np.zeros(3), np.arange(3))
    assert outcome.p_value == pytest.approx(0.25, abs=0.02)
    assert outcome.difference.value == 1.0


def test_p_value_counts_users_not_queries():
    first = np.ones(60)
    outcome = paired_comparison(first, np.zeros(60), np.repeat(np.arange(3), 20))
    assert outcome.p_value == pytest.approx(0.25, abs=0.02)


def test_equal_models_do_not_differ():
    values = np.random.default_rng(0).random(40)
    outcome = paired_comparison(values, values, np.arange(40), permutations=99)
    assert outcome.p_value == 1.0
    assert outcome.difference.low == outcome.difference.high == 0.0


def test_clearly_different_models_differ():
    rng = np.random.default_rng(0)
    worse = rng.random(200)
    outcome = paired_comparison(worse + 0.1 + 0.1 * rng.normal(size=200), worse, np.arange(200))
    assert outcome.p_value == pytest.approx(1 / 10_000)
    # 1.96 standard errors of the mean difference are 0.014.
    assert outcome.difference.low == pytest.approx(outcome.difference.value - 0.014, abs=0.002)


def test_p_values_under_no_difference_are_uniform():
    rng = np.random.default_rng(0)
    small = [
        paired_comparison(rng.random(30), rng.random(30), np.arange(30), permutations=99, resamples=2).p_value
        <= 0.1
        for _ in range(300)
    ]
    assert np.mean(small) == pytest.approx(0.1, abs=0.05)  # three standard errors of a share of 300


def test_models_on_different_queries_cannot_be_paired():
    with pytest.raises(ValueError, match="got 2 and 3 values"):
        paired_comparison(np.zeros(2), np.zeros(3), np.arange(2))


def test_many_users_get_the_limit_of_what_fewer_get(monkeypatch):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3000), rng.integers(1, 6, 3000))
    worse = rng.random(len(groups))
    better = worse + rng.normal(0.0005, 0.1, len(groups))
    exact = paired_comparison(better, worse, groups)
    monkeypatch.setattr(intervals, "MANY_USERS", 3000)
    limit = paired_comparison(better, worse, groups)
    assert limit.p_value == pytest.approx(exact.p_value, abs=0.01)
    assert 0.001 < limit.p_value < 0.2
    width = limit.difference.high - limit.difference.low
    assert width == pytest.approx(exact.difference.high - exact.difference.low, rel=0.1)
    assert limit.difference.value == exact.difference.value
    assert paired_comparison(worse, worse, groups).p_value == 1.0
