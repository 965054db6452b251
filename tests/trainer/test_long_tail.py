"""What the retrieval loss makes of rare and frequent items, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.keras_compat import tf
from trainer.long_tail import TailCorrection, event_weights, logit_offsets
from trainer.long_tail_config import LongTailConfig
from trainer.retrieval_loss import RetrievalLoss
from trainer.sampling import Candidates
from trainer.step_queries import StepQueries
from trainer.train_config import RetrievalConfig, TrainConfig

RNG = np.random.default_rng(0)
N = 6
COUNTS = np.array([8, 6, 2, 2, 1, 0])
SHARE = (COUNTS / COUNTS.sum()).astype(np.float32)
QUERIES = RNG.normal(size=(3, 4)).astype(np.float32)
VECTORS = RNG.normal(size=(N, 4)).astype(np.float32)
TARGETS = np.array([2, 0, 4], np.int32)
EVERYTHING = Candidates(tf.range(N), tf.range(N), 1.0, 0.0, 0.0, complete=True)
KINDS = {
    "full": {"softmax": "full"},
    "distinct": {"softmax": "distinct"},
    "drawn": {"in_batch_negatives": False},
}


def test_weights_of_events_by_both_formulas():
    weights = event_weights(COUNTS, LongTailConfig(popularity_discount=0.5))
    raw = np.array([8**-0.5, 6**-0.5, 2**-0.5, 2**-0.5, 1, 1])
    # The 19 events weigh 8 / sqrt(8) + 6 / sqrt(6) + 2 * 2 / sqrt(2) + 1 = sqrt(8) + sqrt(6) + 2 sqrt(2) + 1.
    mean = (8**0.5 + 6**0.5 + 2 * 2**0.5 + 1) / 19
    np.testing.assert_allclose(weights, raw / mean, rtol=1e-6)
    weights = event_weights(COUNTS, LongTailConfig(effective_numbers=0.5))
    # (1 - 1/2) / (1 - 1/2^n): one event 1, two 2/3.
    assert weights[2] / weights[4] == pytest.approx(2 / 3)
    assert weights[0] / weights[4] == pytest.approx(0.5 / (1 - 0.5**8))
    assert event_weights(COUNTS, LongTailConfig()) is None


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any),
    st.sampled_from(
        [LongTailConfig(popularity_discount=0.7), LongTailConfig(effective_numbers=0.999)],
    ),
)
def test_events_weigh_one_on_average_and_those_of_rare_items_no_less(counts, config):
    weights = event_weights(np.array(counts), config)
    assert np.sum(weights * counts) / np.sum(counts) == pytest.approx(1, rel=1e-5)
    assert (np.diff(weights[np.argsort(counts)]) <= 1e-6 * weights.max()).all()


def loss(tail: TailCorrection, step: StepQueries | None = None, **settings) -> float:
    task = RetrievalLoss(RetrievalConfig(**settings))
    arguments = (tf.constant(QUERIES), tf.constant(TARGETS), tf.constant(VECTORS), EVERYTHING)
    return float(task(*arguments, tf.constant(SHARE), step, tail))


def rows(logits) -> np.ndarray:
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(3), TARGETS]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_adjusted_for_the_share_of_items_in_every_softmax(kind):
    tail = TailCorrection(offsets=tf.constant(logit_offsets(COUNTS, 0.5)))
    # One event more each, so that the item without events has a share: 9, 7, 3, 3, 2, 1 of 25.
    logits = QUERIES @ VECTORS.T + 0.5 * np.log(np.array([9, 7, 3, 3, 2, 1]) / 25)
    assert loss(tail, **KINDS[kind]) == pytest.approx(rows(logits).mean(), rel=1e-5)
    assert abs(loss(TailCorrection(), **KINDS[kind]) - rows(logits).mean()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fixed", [False, True])
def test_a_query_counts_as_much_as_its_target_weighs(kind, fixed):
    weights = np.array([0.5, 1, 2, 1, 4, 9], np.float32)
    step = None
    if fixed:  # the last query only fills up a shape
        real = tf.constant([True, True, False])
        step = StepQueries(None, tf.constant(TARGETS), tf.zeros([0], tf.int32), real=real, valid=real)
    own = weights[TARGETS] * ([1, 1, 0] if fixed else [1, 1, 1])
    expected = (rows(QUERIES @ VECTORS.T) * own).sum() / own.sum()
    assert loss(TailCorrection(weights=tf.constant(weights)), step, **KINDS[kind]) == pytest.approx(
        expected, rel=1e-5
    )


def test_the_batch_softmax_takes_weights_and_offsets_too():
    tail = TailCorrection(
        tf.constant(np.array([0.5, 1, 2, 1, 4, 9], np.float32)), tf.constant(logit_offsets(COUNTS, 1))
    )
    ids = np.concatenate([TARGETS, np.arange(N)])
    expected = 3 * SHARE[ids] + 1  # the targets of three queries, and the catalogue once
    logits = QUERIES @ VECTORS[ids].T + logit_offsets(COUNTS, 1)[ids] - np.log(expected / len(ids))
    kept = (ids[None, :] != TARGETS[:, None]) | (np.arange(len(ids)) == np.arange(3)[:, None])
    each = np.log(np.where(kept, np.exp(logits), 0).sum(axis=1)) - logits[np.arange(3), np.arange(3)]
    own = np.array([2, 0.5, 4])
    assert loss(tail) == pytest.approx((each * own).sum() / own.sum(), rel=1e-5)


def test_what_contradicts_itself_or_learns_from_nothing_is_refused():
    with pytest.raises(ValidationError, match="two kinds of weights"):
        LongTailConfig(popularity_discount=0.5, effective_numbers=0.9)
    item = {"id_dropout": 0.0, "missing_id": "learned", "id_dropout_events": 3}
    with pytest.raises(
        ValidationError, match="id_dropout_events and missing_id learn from IDs that are hidden"
    ):
        TrainConfig.model_validate({"model": {"item": item}})
