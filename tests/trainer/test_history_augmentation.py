"""Changed histories: what each operation does, what it never does, and that restarts see the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.augmentation_config import AugmentationConfig
from trainer.history_augmentation import Histories, HistoryAugmentation, similar_items
from trainer.keras_compat import tf

LENGTH = 8
SIZES = [8, 5, 1, 0]
PLACES = np.array(
    [[10 * row + c if c < size else -1 for c in range(LENGTH)] for row, size in enumerate(SIZES)]
)
PREDICTED = (PLACES >= 0) & (np.arange(LENGTH) >= np.array([2, 0, 0, 0])[:, None])
ITEMS = np.arange(100, dtype=np.int32)  # event i is of item i
SIMILAR = np.stack([ITEMS + 100, ITEMS + 200], axis=1)


def changed(seed=(1, 2), similar=SIMILAR, places=PLACES, predicted=PREDICTED, **settings):
    augment = HistoryAugmentation(AugmentationConfig(**{"rate": 1.0, **settings}), similar)
    histories = Histories(tf.constant(places), tf.constant(predicted), tf.constant(places))
    out, read = augment(histories, tf.constant(ITEMS), tf.constant(seed, tf.int64))
    return *(part.numpy() for part in out), read.numpy()


def read_as_they_are(places):
    return np.where(places >= 0, places, -1)


def test_a_crop_leaves_a_run_of_events_at_the_beginning():
    starts = set()
    for seed in range(30):
        places, predicted, times, read = changed((0, seed), operations=("crop",), crop=0.5)
        assert [(row >= 0).sum() for row in places] == [4, 3, 1, 0]  # half of the events, rounded up
        start = places[0, 0]
        starts.add(int(start))
        assert places[0].tolist() == [*range(start, start + 4), -1, -1, -1, -1]
        assert predicted[0].tolist() == [place >= 2 for place in range(start, start + 4)] + [False] * 4
        np.testing.assert_array_equal(times, places)
        np.testing.assert_array_equal(read, read_as_they_are(places))
    assert starts == {0, 1, 2, 3, 4}


def test_a_mask_hides_events_from_the_reader_alone():
    row = np.tile(PLACES[:1], (200, 1))
    places, predicted, _, read = changed(places=row, predicted=row >= 2, operations=("mask",), mask=0.25)
    np.testing.assert_array_equal(places, row)
    np.testing.assert_array_equal(predicted, row >= 2)
    assert set(np.unique(read[read != row])) == {-1}
    # 1,600 draws of 1/4: 400, standard deviation sqrt(1600 x 3/16) = 17.3.
    assert abs((read == -1).sum() - 400) < 5 * 17.4


def test_a_run_of_events_is_shuffled_and_times_stay_in_order():
    moved = 0
    for seed in range(30):
        places, predicted, times, read = changed((0, seed), operations=("reorder",), reorder=0.5)
        np.testing.assert_array_equal(times, PLACES)
        np.testing.assert_array_equal(np.sort(places[0]), PLACES[0])
        apart = np.flatnonzero(places[0] != PLACES[0])
        assert not len(apart) or apart[-1] - apart[0] < 4  # half of eight
        moved += len(apart) > 0
        np.testing.assert_array_equal(predicted[0], places[0] >= 2)
        np.testing.assert_array_equal(places[2:], PLACES[2:])
        np.testing.assert_array_equal(read, read_as_they_are(places))
    assert moved > 20  # all but 1 in 24 orders of four move something


def test_substitutes_are_read_where_there_are_some():
    similar = SIMILAR.copy()
    similar[3] = -1
    row = np.tile(PLACES[:1], (200, 1))
    places, _, _, read = changed(
        similar=similar, places=row, predicted=row >= 0, operations=("substitute",), substitute=0.25
    )
    np.testing.assert_array_equal(places, row)
    assert (read[:, 3] == 3).all()
    others = read != row
    assert set((read - row)[others]) == {100, 200}
    assert abs(others.sum() - 350) < 5 * 16.3  # of 1,400 draws of 1/4, standard deviation sqrt(1400 x 3/16)


def test_as_many_histories_are_changed_as_wished_and_long_ones_stay():
    row = np.tile(PLACES[:1], (400, 1))
    read = changed(places=row, predicted=row >= 0, rate=0.5, operations=("mask",), mask=1.0)[3]
    assert abs((read[:, 0] == -1).sum() - 200) < 5 * 10  # of 400 draws of one half
    read = changed(max_events=5, operations=("mask",), mask=1.0)[3]
    assert (read[0] == PLACES[0]).all()
    assert (read[1:] == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40), st.floats(0.01, 1), st.floats(0.01, 1))
def test_nothing_is_predicted_that_was_read_before_and_equal_seeds_change_alike(seed, share, other):
    wishes = {"crop": share, "reorder": other, "mask": other, "substitute": share}
    first = changed((3, seed), **wishes)
    for mine, again in zip(first, changed((3, seed), **wishes), strict=True):
        np.testing.assert_array_equal(mine, again)
    places, predicted, times, read = first
    for row in range(len(SIZES)):
        real = places[row] >= 0
        assert sorted(set(places[row][real])) == sorted(places[row][real])  # each event once
        assert (np.diff(real.astype(int)) <= 0).all()  # padding on the right
        assert set(places[row][predicted[row]]) <= set(PLACES[row][PREDICTED[row]])
        assert (times[row] >= 0).tolist() == real.tolist()
        # What is read in place of an event is the event, a substitute of it, or nothing.
        assert all(
            value in (-1, place, place + 100, place + 200)
            for place, value in zip(places[row], read[row], strict=False)
        )


def test_items_of_the_same_users_are_similar():
    items = np.array([0, 1, 2, 0, 1, 3, 0, 1, 4, -1], np.int32)
    similar = similar_items(items, np.array([0, 3, 6, 8, 10]), 6, 3)
    assert similar[0].tolist()[0] == 1  # three users had both
    assert similar[1].tolist()[0] == 0
    assert set(similar[2]) == {0, 1}
    assert similar[5].tolist() == similar[4].tolist() == [-1, -1, -1]


def test_what_is_named_twice_is_refused():
    with pytest.raises(ValueError, match="each one once"):
        AugmentationConfig(operations=("crop", "crop"))
