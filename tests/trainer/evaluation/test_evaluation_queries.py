from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.queries import EvaluationQueries


def two_users() -> EvaluationQueries:
    """User 0: 5 | 7 -1 5 (three targets, one outside the catalogue); user 1: nothing before 2 | 3."""
    return EvaluationQueries.from_sequences(
        np.array([5, 7, -1, 5, 2, 3]), np.array([0, 4, 6]), target_start=np.array([1, 0])
    )


def test_every_event_from_target_start_on_is_a_query():
    queries = two_users()
    assert queries.sequence.tolist() == [0, 0, 1, 1]
    assert queries.target.tolist() == [1, 3, 4, 5]
    assert queries.target_items().tolist() == [7, 5, 2, 3]
    assert queries.dropped_targets == 1
    assert len(queries) == 4


def test_history_is_what_came_before_and_skips_unknown_items():
    queries = two_users()
    assert queries.histories(0, 4, 3).tolist() == [[5, -1, -1], [5, 7, -1], [-1, -1, -1], [2, -1, -1]]
    assert queries.history_lengths().tolist() == [1, 2, 0, 1]


def test_history_keeps_the_most_recent_events():
    queries = EvaluationQueries.from_sequences(np.array([4, -1, 6, 8, 9]), np.array([0, 5]), np.array([4]))
    assert queries.histories(0, 1, 2).tolist() == [[6, 8]]


def test_seen_lists_whole_histories_by_row():
    row, item = two_users().seen(1, 4)
    assert list(zip(row.tolist(), item.tolist(), strict=True)) == [(0, 5), (0, 7), (2, 2)]


def test_a_user_without_any_event_before_the_split_is_cold():
    assert two_users().cold_users().tolist() == [False, False, True, True]


def test_a_sample_is_a_subset_with_the_same_histories():
    queries = two_users()
    sample = queries.sample(2, seed=1)
    assert len(sample) == 2
    assert queries.sample(99) is queries
    whole = {int(t): h.tolist() for t, h in zip(queries.target, queries.histories(0, 4, 9), strict=True)}
    for target, history in zip(sample.target, sample.histories(0, 2, 9), strict=True):
        assert whole[int(target)] == history.tolist()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(-1, 9), max_size=8), st.integers(0, 8)), max_size=6),
    st.integers(1, 10),
)
def test_queries_agree_with_plain_lists(users: list[tuple[list[int], int]], max_length: int):
    lengths = [len(events) for events, _ in users]
    starts = [min(start, len(events)) for events, start in users]
    queries = EvaluationQueries.from_sequences(
        np.array([i for events, _ in users for i in events], np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array(starts, np.int64),
    )
    expected = [
        ([e for e in events[:position] if e >= 0], events[position])
        for (events, _), start in zip(users, starts, strict=True)
        for position in range(start, len(events))
        if events[position] >= 0
    ]
    assert queries.target_items().tolist() == [target for _, target in expected]
    assert queries.history_lengths().tolist() == [len(history) for history, _ in expected]
    padded = [(h[-max_length:] + [-1] * max_length)[:max_length] for h, _ in expected]
    assert queries.histories(0, len(queries), max_length).tolist() == padded
    row, item = queries.seen(0, len(queries))
    pairs = [(r, i) for r, (history, _) in enumerate(expected) for i in history]
    assert list(zip(row.tolist(), item.tolist(), strict=True)) == pairs


@pytest.mark.parametrize(
    ("items", "splits", "start", "message"),
    [
        ([1, 2], [0, 1], [0], r"row_splits must start with 0 and end with the number of events \(2\)"),
        ([1, 2], [0, 2], [3], "target_start of sequence 0 is 3"),
        ([1, 2], [0, 2], [0, 0], "one entry for each of the 1 sequences, got 2"),
        ([1, 2], [0, 2, 1, 2], [0, 0, 0], "sequence 1 has a negative length"),
        ([-7], [0, 1], [0], "got -7"),
        ([[1]], [0, 1], [0], "one dimension each"),
    ],
)
def test_arrays_that_describe_no_sequences_are_refused(items, splits, start, message):
    with pytest.raises(ValueError, match=message):
        EvaluationQueries.from_sequences(np.array(items), np.array(splits), np.array(start))
