from __future__ import annotations

import numpy as np
import pytest

from trainer.keras_compat import tf
from trainer.ranking_head import RankingHead

RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(2, 4)).astype(np.float32)
HISTORY = RNG.normal(size=(2, 5, 4)).astype(np.float32)
MASK = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
ITEMS = RNG.normal(size=(2, 7, 4)).astype(np.float32)
SCALE = np.abs(RNG.normal(size=(2, 7))).astype(np.float32)


@pytest.fixture
def head():
    layer = RankingHead(4, 6, 0.5)
    layer.build()
    return layer


def scores(head, history=HISTORY, items=ITEMS, scale=SCALE):
    arguments = (QUERY, history, MASK, items, scale)
    return [part.numpy() for part in head(*(tf.constant(value) for value in arguments), training=False)]


def scramble(head):
    rng = np.random.default_rng(3)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))


def test_an_untrained_head_keeps_the_scores_of_retrieval(head):
    np.testing.assert_allclose(scores(head)[0], np.einsum("bd,bnd->bn", QUERY, ITEMS), rtol=1e-5)


def test_the_history_counts_but_not_its_padding(head):
    scramble(head)
    before = scores(head)
    padded, changed = HISTORY.copy(), HISTORY.copy()
    padded[~MASK] += 50.0
    changed[0, 0] += 1.0
    for part, expected in zip(scores(head, padded), before, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5)
    assert np.abs(scores(head, changed)[0][0] - before[0][0]).max() > 1e-3
    assert np.isfinite(before[0][1]).all()  # the second row has no history at all


def test_a_pair_is_scored_alone(head):
    scramble(head)
    together = scores(head)
    alone = scores(head, items=ITEMS[:, 3:4], scale=SCALE[:, 3:4])
    for part, expected in zip(alone, together, strict=True):
        np.testing.assert_allclose(part[:, 0], expected[:, 3], rtol=1e-4)


def test_popularity_counts_once_trained(head):
    scramble(head)
    assert np.abs(scores(head, scale=SCALE + 1)[0] - scores(head)[0]).max() > 1e-3
