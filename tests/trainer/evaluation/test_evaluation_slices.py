from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.slices import all_slices, history_slices, item_groups


def test_groups_hold_a_third_of_the_events_each():
    # 12 events: 4 | 2 2 | 1 1 1 1 and one item without events.
    assert item_groups(np.array([1, 2, 4, 0, 1, 2, 1, 1])).tolist() == [2, 1, 0, 3, 2, 1, 2, 2]


def test_without_training_events_everything_is_cold():
    assert item_groups(np.zeros(3, int)).tolist() == [3, 3, 3]


@settings(deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=40))
def test_popular_items_are_never_in_a_later_group(counts: list[int]):
    array = np.array(counts)
    groups = item_groups(array)
    assert (groups == 3).tolist() == (array == 0).tolist()
    ordered = groups[np.argsort(-array, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
    if array.sum():
        assert groups[np.argmax(array)] == 0


def test_history_slices_cover_every_query_once():
    events = np.arange(300) % 9
    queries = EvaluationQueries.from_sequences(events, np.array([0, 300]), np.array([0]))
    slices = history_slices(queries, (0, 5, 20))
    assert list(slices) == ["history: 0", "history: 1-5", "history: 6-20", "history: 21+"]
    assert [int(mask.sum()) for mask in slices.values()] == [1, 5, 15, 279]
    assert (np.sum(list(slices.values()), axis=0) == 1).all()


def test_empty_slices_are_left_out():
    queries = EvaluationQueries.from_sequences(np.array([0, 1, 2]), np.array([0, 3]), np.array([2]))
    names = list(all_slices(queries, np.array([6, 3, 1])))
    assert names == ["item: tail", "user: known", "history: 1-5"]
