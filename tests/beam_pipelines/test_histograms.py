from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.histogram import Histogram, float_keys, float_value
from beam_pipelines.tally import Tally, merge_states

integers = st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=40)


def _of(values: list[int], max_keys: int) -> Histogram:
    return Histogram.of(np.array(values, np.int64), max_keys)


def _same(a: Histogram, b: Histogram) -> bool:
    return a.level == b.level and np.array_equal(a.keys, b.keys) and np.array_equal(a.counts, b.counts)


@given(st.lists(integers, min_size=1, max_size=5), st.integers(1, 8), st.randoms())
def test_merging_gives_the_same_whatever_the_grouping(
    parts: list[list[int]], max_keys: int, random: Any
) -> None:
    whole = _of([v for part in parts for v in part], max_keys)
    histograms = [_of(part, max_keys) for part in parts]
    assert _same(Histogram.merge(histograms, max_keys), whole)
    random.shuffle(histograms)
    pairwise = histograms[0]
    for other in histograms[1:]:
        pairwise = Histogram.merge([pairwise, other], max_keys)
    assert _same(pairwise, whole)


@given(integers, st.floats(0, 1))
def test_at_most_a_share_of_the_values_lies_below_its_quantile(values: list[int], share: float) -> None:
    quantile = _of(values, 1 << 20).quantile(share)
    assert quantile in values
    assert sum(v < quantile for v in values) <= share * len(values)


def test_quantiles_of_one_to_ten() -> None:
    histogram = _of(list(range(1, 11)), 100)
    # 80 % of ten values are eight: the ninth is the first with more than that at or below it.
    assert [histogram.quantile(share) for share in (0, 0.5, 0.8, 1)] == [1, 6, 9, 10]
    with pytest.raises(ValueError, match="without values"):
        _of([], 1).quantile(0.5)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2))
def test_float_keys_keep_order_and_value(values: list[float]) -> None:
    keys = float_keys(np.array(values, np.float32)).tolist()
    assert [float_value(key) for key in keys] == [v + 0.0 for v in values]
    assert sorted(values) == [float_value(key) for key in sorted(keys)]


def test_tallies_add_up_by_every_route() -> None:
    one, two = Tally(), Tally()
    for tally, times in ((one, [3, 1]), (two, [2])):
        tally.add("x", len(times))
        tally.add_values("f", ["a", "b"], [1, 0])
        tally.add_integers("h", np.array(times))
        tally.add_extremes("t", np.array(times))
    merged = Tally.from_state(merge_states([one.to_state(), merge_states([two.to_state()])]))
    assert (merged.counts, merged.values, merged.extremes) == ({"x": 3}, {"f": {"a": 2}}, {"t": (1, 3)})
    assert merged.histograms["h"].keys.tolist() == [1, 2, 3]
    assert Tally.from_json(merged.to_json()).to_json() == merged.to_json()
