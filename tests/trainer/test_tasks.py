"""The losses against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.keras_compat import tf
from trainer.tasks import RankingTask, RetrievalTask
from trainer.train_config import RetrievalConfig
from trainer.value_scale import ValueScale

RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, 3)).astype(np.float32)
CANDIDATES = RNG.normal(size=(7, 3)).astype(np.float32)
# Queries 0 and 2 want the same item 5, and item 5 and item 6 (the target of query 3) are drawn again.
IDS = np.array([5, 8, 5, 6, 1, 5, 6], np.int32)
PROBABILITY = np.array([0.5, 0.25, 0.5, 0.1, 0.2, 0.5, 0.1], np.float32)


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def expected_rows(temperature: float, remove: bool) -> np.ndarray:
    logits = QUERIES @ CANDIDATES.T / temperature - np.log(PROBABILITY)
    if remove:
        hit = (IDS[None, :] == IDS[: len(QUERIES), None]) & ~np.eye(4, 7, dtype=bool)
        logits = np.where(hit, -np.inf, logits)
    return -np.diag(log_softmax(logits))


@pytest.fixture(scope="module")
def retrieval():
    tasks = {
        remove: RetrievalTask(RetrievalConfig(remove_accidental_hits=remove)) for remove in (True, False)
    }

    def loss(weights, remove=True):
        tensors = [
            tf.constant(array)
            for array in (QUERIES / np.float32(0.5), CANDIDATES, IDS, PROBABILITY, np.float32(weights))
        ]
        return float(tasks[remove](*tensors))

    return loss


@pytest.mark.parametrize("remove", [True, False])
def test_retrieval_is_the_mean_corrected_softmax(retrieval, remove):
    np.testing.assert_allclose(retrieval([1, 1, 1, 1], remove), expected_rows(0.5, remove).mean(), rtol=1e-5)


def test_removing_accidental_hits_matters_here():
    assert np.abs(expected_rows(0.5, True) - expected_rows(0.5, False)).max() > 0.1


def test_weight_zero_leaves_a_query_out(retrieval):
    rows = expected_rows(0.5, True)
    np.testing.assert_allclose(retrieval([0, 1, 0, 1]), (rows[1] + rows[3]) / 2, rtol=1e-5)
    assert retrieval([0, 0, 0, 0]) == 0.0


def test_smoothing_spreads_over_the_candidates_that_were_not_removed():
    task = RetrievalTask(RetrievalConfig(label_smoothing=0.2))
    tensors = [
        tf.constant(array) for array in (QUERIES, CANDIDATES, IDS, PROBABILITY, np.ones(4, np.float32))
    ]
    logits = QUERIES @ CANDIDATES.T - np.log(PROBABILITY)
    hit = (IDS[None, :] == IDS[:4, None]) & ~np.eye(4, 7, dtype=bool)
    expected = []
    for row in range(4):
        kept = ~hit[row]  # 5, 7, 5 and 6 candidates: items 5 and 6 come again
        logs = log_softmax(logits[row : row + 1, kept])[0]
        own = log_softmax(np.where(kept, logits[row], -np.inf)[None])[0, row]
        expected.append(-0.8 * own - 0.2 * logs.mean())
    assert hit.sum(axis=1).tolist() == [2, 0, 2, 1]
    np.testing.assert_allclose(float(task(*tensors)), np.mean(expected), rtol=1e-5)


def test_hard_negatives_leave_the_easy_ones_out():
    task = RetrievalTask(RetrievalConfig(hard_negatives=2))
    tensors = [
        tf.constant(array) for array in (QUERIES, CANDIDATES, IDS, PROBABILITY, np.ones(4, np.float32))
    ]
    logits = QUERIES @ CANDIDATES.T - np.log(PROBABILITY)
    hit = (IDS[None, :] == IDS[:4, None]) & ~np.eye(4, 7, dtype=bool)
    rows = []
    for row in range(4):
        rivals = np.sort(np.delete(np.where(hit[row], -np.inf, logits[row]), row))[-2:]
        rows.append(-log_softmax(np.array([[logits[row, row], *rivals]]))[0, 0])
    np.testing.assert_allclose(float(task(*tensors)), np.mean(rows), rtol=1e-5)


@pytest.fixture(scope="module")
def ranking():
    return RankingTask()


def test_order_loss_is_the_mean_cross_entropy_of_the_first_column(ranking):
    scores = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, -1.0], [5.0, 5.0, 5.0]], np.float32)
    rows = -log_softmax(scores)[:, 0]
    np.testing.assert_allclose(rows[2], np.log(3), rtol=1e-6)  # three equal scores
    weights = tf.constant([1.0, 0.0, 1.0])
    np.testing.assert_allclose(
        float(ranking.order_loss(tf.constant(scores), weights)), (rows[0] + rows[2]) / 2, rtol=1e-5
    )
    assert float(ranking.order_loss(tf.constant(scores), tf.zeros(3))) == 0.0


def test_value_loss_counts_observed_values_alone(ranking):
    values = tf.constant([4.0, np.nan, 1.0, 2.0])
    predictions = tf.constant([3.0, 100.0, 3.0, 50.0])
    weights = tf.constant([1.0, 1.0, 1.0, 0.0])
    # Errors of 1 and 2, of which the second counts in proportion beyond 1.345; the NaN and the row of weight 0 do not.
    expected = (0.5 * 1**2 + 1.345 * (2 - 0.5 * 1.345)) / 2
    np.testing.assert_allclose(float(ranking.value_loss(values, predictions, weights)), expected, rtol=1e-6)


def test_values_are_learned_in_deviations_from_their_median(ranking):
    scaled = RankingTask(ValueScale(median=100.0, deviation=20.0))
    predictions, weights = tf.constant([0.5, -1.0, 3.0]), tf.ones(3)
    plain = ranking.value_loss(tf.constant([0.0, 1.0, -2.0]), predictions, weights)
    moved = scaled.value_loss(tf.constant([100.0, 120.0, 60.0]), predictions, weights)
    np.testing.assert_allclose(moved, plain, rtol=1e-6)


def test_no_value_pulls_harder_than_another_however_large(ranking):
    predictions = tf.Variable([0.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        loss = ranking.value_loss(tf.constant([2.0, 80_995.0, -9_360.0]), predictions, tf.ones(3))
    np.testing.assert_allclose(
        tape.gradient(loss, predictions), np.array([-1.345, -1.345, 1.345]) / 3, rtol=1e-5
    )


def test_without_values_there_is_no_loss_and_no_gradient(ranking):
    predictions = tf.Variable([3.0, 1.0])
    with tf.GradientTape() as tape:
        loss = ranking.value_loss(tf.constant([np.nan, np.inf]), predictions, tf.ones(2))
    assert float(loss) == 0.0
    assert tape.gradient(loss, predictions).numpy().tolist() == [0.0, 0.0]
