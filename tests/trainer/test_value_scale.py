from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.value_scale import ValueScale


def of(*values: float) -> ValueScale:
    return ValueScale.measured(np.asarray(values, np.float32))


def test_a_normal_sample_has_its_own_mean_and_deviation():
    scale = ValueScale.measured(np.random.default_rng(0).normal(7, 3, 100_000).astype(np.float32))
    assert (scale.median, scale.deviation) == pytest.approx((7, 3), rel=0.01)


def test_a_huge_value_and_missing_ones_change_nothing():
    assert of(1, 2, 3, 4, 5) == of(1, 2, 3, 4, 80_995) == of(1, 2, np.nan, 3, 4, np.inf, 5)


def test_ratings_that_are_mostly_the_same_keep_their_deviation():
    scale = of(*[5] * 9, 1)
    assert (scale.median, scale.deviation) == pytest.approx((5, np.std([5] * 9 + [1])))


@pytest.mark.parametrize("values", [(), (np.nan,), (1, 1, 1)])
def test_without_any_spread_the_deviation_is_one(values):
    assert of(*values).deviation == 1.0


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.integers(1, 100), st.integers(-1000, 1000))
def test_other_units_give_other_units(values, factor, offset):
    before, after = of(*values), of(*(factor * value + offset for value in values))
    assert after.median == pytest.approx(factor * before.median + offset, abs=1e-3)
    if len(set(values)) > 1:
        assert after.deviation == pytest.approx(factor * before.deviation, rel=1e-5)
