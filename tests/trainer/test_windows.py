"""Windows of training, and the batches made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.windows import cut_windows

users = st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=6)


def cut(sizes: list[int], starts: list[int], length: int):
    splits = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return splits, cut_windows(splits, np.asarray(starts, np.int64), length)


def test_a_long_history_is_cut_with_a_quarter_of_context():
    # 11 events, windows of 8: the second begins 8 - 8 // 4 = 6 events later, repeats events 6 and 7 and predicts 8-10.
    _, windows = cut([11], [0], 8)
    assert windows.positions.tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [6, 7, 8, 9, 10, -1, -1, -1],
    ]
    assert windows.predicted.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 0, 0, 0],
    ]


def test_a_history_that_just_fits_is_one_window():
    assert len(cut([8], [0], 8)[1]) == 1
    assert len(cut([9], [0], 8)[1]) == 2


def test_users_without_events_have_no_window():
    _, windows = cut([0, 2, 0], [0, 0, 0], 4)
    assert windows.sequence.tolist() == [1]
    assert windows.positions.tolist() == [[0, 1, -1, -1]]


def test_without_users_there_are_no_windows():
    assert cut([], [], 4)[1].positions.shape == (0, 4)


@settings(deadline=None)
@given(users, st.integers(1, 12))
def test_every_target_is_predicted_once_and_no_context_event(people, length):
    sizes, starts = [n for n, _ in people], [s for _, s in people]
    splits, windows = cut(sizes, starts, length)
    predicted = sorted(windows.positions[windows.predicted].tolist())
    assert predicted == [
        place for user, start in enumerate(starts) for place in range(splits[user] + start, splits[user + 1])
    ]


@settings(deadline=None)
@given(users, st.integers(1, 12))
def test_windows_stay_within_a_user_and_give_enough_context(people, length):
    splits, windows = cut([n for n, _ in people], [s for _, s in people], length)
    for positions, predicted, user in zip(
        windows.positions, windows.predicted, windows.sequence, strict=True
    ):
        real = positions[positions >= 0]
        assert len(real) >= 1
        assert (positions[: len(real)] == real[0] + np.arange(len(real))).all()  # consecutive, padding last
        assert splits[user] <= real[0]
        assert real[-1] < splits[user + 1]
        for column in np.flatnonzero(predicted):
            whole_history = positions[column] - column == splits[user]
            assert whole_history or column >= length // 4


@pytest.fixture(scope="module")
def material(config, encoder):
    """The training split of the checkerboard, as `train` prepares it, without a model."""
    from trainer.catalogue import load_catalogue
    from trainer.dataset import DatasetDirectory
    from trainer.input import training_windows
    from trainer.preparation import prepare
    from trainer.sequences import load_sequences

    dataset = DatasetDirectory.open(config.dataset_dir("leave_last_out"))
    catalogue = load_catalogue(dataset)
    train = load_sequences(dataset, "train", catalogue)
    return prepare(dataset, catalogue, train, encoder.width), train, training_windows(train, config.train)


def batches(material, config, first_epoch: int):
    from trainer.input import training_batches

    preparation, train, windows = material
    return [
        {name: np.asarray(value) for name, value in batch.items() if name != "user"}
        for batch in training_batches(preparation, train, windows, config, first_epoch).as_numpy_iterator()
    ]


def test_an_epoch_holds_every_window_once(material, config):
    from trainer.input import steps_per_epoch

    settings_ = config.train.model_copy(update={"epochs": 1, "batch_size": 7})
    found = batches(material, settings_, 0)
    assert len(found) == steps_per_epoch(material[2], settings_) == 7  # 48 windows in batches of 7
    # 48 users of 6 training events; each item is watched by users of its parity, 24 users x 6 events over 12 items.
    items = np.concatenate([batch["items"][batch["predicted"]] for batch in found])
    assert np.bincount(items).tolist() == [12] * 24


def test_a_resumed_run_sees_what_an_uninterrupted_one_would_have_seen(material, config):
    settings_ = config.train.model_copy(update={"epochs": 3})
    whole, rest = batches(material, settings_, 0), batches(material, settings_, 2)
    assert len(whole) == 3 * len(rest)
    for expected, came in zip(whole[-len(rest) :], rest, strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(value, came[name])
    assert any((a["items"] != b["items"]).any() for a, b in zip(whole, rest, strict=False))  # epochs differ


def test_changed_histories_are_the_same_after_a_restart_and_change_from_epoch_to_epoch(material, config):
    from trainer.augmentation_config import AugmentationConfig

    augmentation = AugmentationConfig(rate=0.8)
    settings_ = config.train.model_copy(update={"epochs": 3, "augmentation": augmentation})
    whole, rest = batches(material, settings_, 0), batches(material, settings_, 2)
    for expected, came in zip(whole[-len(rest) :], rest, strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(value, came[name])
    assert (whole[0]["read"] != whole[0]["items"]).any()
    # Only a crop leaves targets out: a fifth of the histories loses 2 of its 6 events.
    kept = sum(int(batch["predicted"].sum()) for batch in rest) / (48 * 6)
    assert 0.85 < kept < 1
    for batch in whole:
        real = batch["items"] >= 0
        assert (batch["read"][~real] == -1).all()
        assert real[batch["predicted"]].all()
