"""Contributions by insertion orders, beside values that follow from the definition of Shapley."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.explaining.coalitions import coalitions, contributions, insertion_orders

few = settings(max_examples=20, deadline=None)


def shares(worth, players: int, turns: int = 2) -> np.ndarray:
    """Contributions of a game that gives a bool [M] coalition a number."""
    places = insertion_orders(players, turns)
    values = [[worth(there)] for there in coalitions(places).numpy()]
    return contributions(np.asarray(values, np.float32).reshape(-1, 1), places).numpy()[:, 0]


@few
@given(st.integers(1, 70), st.integers(1, 4))
def test_orders_are_orders_and_each_has_its_reverse(players, turns):
    places = insertion_orders(players, turns).numpy()
    assert places.shape == (2 * turns, players)
    assert all(sorted(row) == list(range(players)) for row in places.tolist())
    np.testing.assert_array_equal(places[turns:], players - 1 - places[:turns])


def test_everybody_comes_early_and_late_equally_often():
    # Of 40 players in two turns, one stands at p, p + 20 (mod 40) and where the reverses have it: 19.5 on average.
    places = insertion_orders(40, 2).numpy()
    assert places.mean(axis=0).tolist() == [19.5] * 40
    assert (np.abs(places[0] - places[1]) == 20).all()


def test_first_nobody_is_there_and_at_last_everybody():
    there = coalitions(insertion_orders(3, 1)).numpy().reshape(2, 4, 3)
    assert there.sum(axis=2).tolist() == [[0, 1, 2, 3]] * 2
    assert (there[:, 1:] >= there[:, :-1]).all()  # whoever has come stays


@few
@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12), st.integers(1, 3))
def test_a_sum_is_taken_apart_exactly(worths, turns):
    found = shares(lambda there: float(np.asarray(worths)[there].sum()), len(worths), turns)
    np.testing.assert_allclose(found, worths, atol=1e-4)


def test_a_mean_of_two():
    # v(a) = 1, v(b) = 0, v(ab) = 1/2. First: 1 and 0; second: 1/2 - 0 and 1/2 - 1. So 3/4 and -1/4.
    found = shares(lambda there: np.asarray([1.0, 0.0])[there].mean() if there.any() else 0.0, 2, turns=1)
    np.testing.assert_allclose(found, [0.75, -0.25])


def test_who_changes_nothing_gets_nothing():
    found = shares(lambda there: float(there[0] and there[2]) + 2.0 * there[1], 4)
    assert found[3] == 0
    assert found[1] == pytest.approx(2)


@few
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_contributions_add_up_whatever_the_game(players, seed):
    table = np.random.default_rng(seed).normal(size=2**players)
    worth = lambda there: table[int(np.dot(there, 1 << np.arange(players)))]  # noqa: E731
    assert shares(worth, players).sum() == pytest.approx(table[-1] - table[0], abs=1e-4)


def test_nobody_at_all():
    places = insertion_orders(0, 2)
    assert coalitions(places).shape == (4, 0)
    assert contributions(np.zeros((4, 3), np.float32), places).shape == (0, 3)
