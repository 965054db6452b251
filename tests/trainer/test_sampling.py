from __future__ import annotations

import numpy as np
import pytest

from trainer.keras_compat import keras, tf
from trainer.sampling import candidate_set, choose_queries, hard_negatives

ITEMS = np.array([[7, 2, -1], [2, 90, 4]], np.int32)


def flat(size: int):
    """Every item has the same share of the events."""
    return tf.fill([size], 1.0 / size)


@pytest.fixture
def seeds():
    return keras.random.SeedGenerator(3)


def test_a_small_catalogue_takes_part_as_a_whole(seeds):
    pool = candidate_set(tf.constant(ITEMS), flat(100), seeds, uniform=100)
    assert pool.complete
    assert pool.ids.numpy().tolist() == pool.negatives.numpy().tolist() == list(range(100))
    assert pool.expected_draws(flat(1)).numpy().tolist() == [1.0]
    assert pool.rows_of(tf.constant(ITEMS)).numpy().tolist() == ITEMS.tolist()


def test_of_a_large_catalogue_the_batch_and_uniform_draws_take_part(seeds):
    pool = candidate_set(tf.constant(ITEMS), flat(100), seeds, uniform=20)
    ids, drawn = pool.ids.numpy(), pool.negatives.numpy()
    assert not pool.complete
    assert ids.tolist() == sorted({2, 4, 7, 90} | set(drawn.tolist()))
    assert drawn.shape == (20,)
    assert drawn.min() >= 0
    assert drawn.max() < 100
    np.testing.assert_allclose(pool.expected_draws(flat(2)), [0.2, 0.2])  # 20 draws over 100 items


def test_draws_are_uniform(seeds):
    drawn = np.concatenate(
        [candidate_set(tf.constant(ITEMS), flat(10), seeds, uniform=9).negatives.numpy() for _ in range(100)]
    )
    # 900 draws over 10 items: 90 each, standard deviation sqrt(900 x 0.1 x 0.9) = 9.
    assert np.abs(np.bincount(drawn, minlength=10) - 90).max() < 5 * 9


def test_rows_lead_back_to_the_items(seeds):
    pool = candidate_set(tf.constant(ITEMS), flat(100), seeds, uniform=20)
    rows = pool.rows_of(tf.constant(ITEMS)).numpy()
    assert rows[0, 2] == -1
    real = ITEMS >= 0
    assert pool.ids.numpy()[rows[real]].tolist() == ITEMS[real].tolist()


def test_without_uniform_draws_only_the_batch_takes_part(seeds):
    pool = candidate_set(tf.constant(ITEMS), flat(100), seeds, uniform=0)
    assert pool.ids.numpy().tolist() == [2, 4, 7, 90]
    assert pool.negatives.shape == (0,)


@pytest.mark.parametrize("uniform", [30, 300])
@pytest.mark.parametrize("fixed", [False, True])
def test_only_the_first_rows_of_the_catalogue_may_take_part(seeds, uniform, fixed):
    items = tf.constant(np.minimum(ITEMS, 39))
    pool = candidate_set(items, flat(100), seeds, uniform=uniform, fixed=fixed, size=40)
    assert pool.complete == (uniform == 300)
    assert max(pool.ids.numpy().max(), pool.negatives.numpy().max()) < 40
    assert pool.uniform_draws == (1.0 if pool.complete else 30 / 40)
    rows = pool.rows_of(items).numpy()
    assert pool.ids.numpy()[rows[rows >= 0]].tolist() == items.numpy()[items.numpy() >= 0].tolist()


@pytest.mark.parametrize("fixed", [False, True])
def test_items_that_are_only_read_take_part_without_being_counted(seeds, fixed):
    read = tf.constant([[7, 55, -1], [66, 90, 4]])
    pool = candidate_set(tf.constant(ITEMS), flat(100), seeds, uniform=0, fixed=fixed, also=read)
    ids = pool.ids.numpy() if pool.once is None else pool.ids.numpy()[pool.once.numpy()]
    assert ids.tolist() == [2, 4, 7, 55, 66, 90]
    assert float(pool.own_draws) == 5


def test_popular_items_are_drawn_as_often_as_they_occur(seeds):
    share = tf.constant([0.5, 0.3, 0.2, 0.0])
    pool = candidate_set(tf.constant([[3]]), share, seeds, uniform=2, popular=10_000)
    popular = pool.negatives.numpy()[2:]  # after the uniform ones
    # 10,000 draws: 5,000, 3,000 and 2,000, deviations of at most 50; never the item without events.
    assert np.abs(np.bincount(popular, minlength=4) - [5000, 3000, 2000, 0]).max() < 5 * 50
    # Half a uniform draw an item, and its part of the others.
    np.testing.assert_allclose(pool.expected_draws(share), [5000.5, 3000.5, 2000.5, 0.5], rtol=1e-6)


def test_a_whole_catalogue_may_have_popular_draws_beside_it(seeds):
    pool = candidate_set(tf.constant(ITEMS % 4), flat(4), seeds, uniform=4, popular=8)
    assert pool.complete
    assert pool.negatives.numpy()[:4].tolist() == [0, 1, 2, 3]
    assert pool.negatives.shape == (12,)
    np.testing.assert_allclose(pool.expected_draws(flat(4)), [3.0] * 4)  # once in the catalogue, 8 / 4 drawn


def test_queries_are_distinct_predicted_events(seeds):
    predicted = np.random.default_rng(0).random((5, 7)) < 0.6
    everything = {tuple(pair) for pair in np.argwhere(predicted).tolist()}
    few = [tuple(pair) for pair in choose_queries(tf.constant(predicted), 4, seeds).numpy().tolist()]
    assert len(few) == len(set(few)) == 4
    assert set(few) <= everything
    all_of_them = [tuple(p) for p in choose_queries(tf.constant(predicted), 1000, seeds).numpy().tolist()]
    assert sorted(all_of_them) == sorted(everything)
    assert all_of_them != sorted(everything)  # in random order, so a further cut is a random one


def draw(seeds, scores, targets, forbidden, candidates, count):
    columns, retrieved = hard_negatives(
        tf.constant(scores, tf.float32),
        tf.constant(targets, tf.int32),
        tf.constant(forbidden, tf.int32),
        candidates=candidates,
        draw=count,
        seeds=seeds,
    )
    return columns.numpy(), retrieved.numpy()


def test_negatives_come_from_the_best_without_target_and_history(seeds):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(200, 12))
    targets = rng.integers(0, 12, 200)
    forbidden = np.where(rng.random((200, 3)) < 0.5, rng.integers(0, 12, (200, 3)), -1)
    columns, _ = draw(seeds, scores, targets, forbidden, 5, 3)
    assert columns.shape == (200, 3)
    counts = np.zeros(5, int)
    for row, drawn in enumerate(columns):
        hidden = {targets[row], *forbidden[row]} - {-1}
        best = [c for c in np.argsort(-scores[row]) if c not in hidden][:5]
        assert len(set(drawn.tolist())) == 3
        assert set(drawn.tolist()) <= set(best)
        counts += np.isin(best, drawn)
    # Each of the 5 candidates with probability 3/5: 120 of 200 rows, standard deviation sqrt(200 x 0.24) = 6.9.
    assert np.abs(counts - 120).max() < 5 * 7


def test_where_too_few_are_allowed_nothing_forbidden_is_drawn(seeds):
    columns, retrieved = draw(seeds, [[5.0, 4.0, 3.0, 2.0]], [1], [[0, 3, -1]], 4, 4)
    assert sorted(columns[0].tolist()) == [-1, -1, -1, 2]
    assert retrieved.tolist() == [True]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0, True),
        (1, True),
        (2, True),  # two items stand before it, so it is third of the best three
        (3, False),
    ],
)
def test_the_target_is_retrieved_if_it_is_among_the_best(seeds, target, expected):
    _, retrieved = draw(seeds, [[9.0, 8.0, 7.0, 6.0, 5.0]], [target], [[-1]], 3, 2)
    assert retrieved.tolist() == [expected]


def test_items_of_the_history_do_not_push_the_target_out(seeds):
    # Serving leaves the history out, so with columns 0 and 1 in it the target in column 3 is second.
    _, retrieved = draw(seeds, [[9.0, 8.0, 7.0, 6.0, 5.0]], [3], [[0, 1]], 2, 2)
    assert retrieved.tolist() == [True]
