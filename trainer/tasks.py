"""The two learning goals, as TensorFlow Recommenders' tasks.

A TFRS task must run inside `tf.function`: Keras 3 switches AutoGraph off in its train step and TFRS relies on it.
TFRS sums its loss over a batch; here every loss is a mean over its rows, so that weights mean the same at any size.
"""

from __future__ import annotations

from typing import Any

from trainer.distribution import replicas
from trainer.keras_compat import tf, tfrs
from trainer.train_config import RetrievalConfig
from trainer.value_scale import AS_OBSERVED, ValueScale

# What tfrs.layers.loss adds to the scores of removed candidates is a hundredth of the least float.
_REMOVED = tf.float32.min / 200.0
# Deviations from which an error counts in proportion: 95 % as efficient as squares for normal errors (Huber 1964).
_HUBER = 1.345


class RetrievalTask:
    """Softmax of each query's target among the targets of the other queries and sampled items.

    Args:
        config: Label smoothing, hard negatives and the removal of accidental hits.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._task = tfrs.tasks.Retrieval(
            loss=_SmoothedSoftmax(config.label_smoothing) if config.label_smoothing else None,
            num_hard_negatives=config.hard_negatives,
            remove_accidental_hits=config.remove_accidental_hits,
        )
        self._loss = tf.function(self._rows)

    def _rows(self, queries: Any, candidates: Any, ids: Any, probability: Any, weights: Any) -> Any:
        return self._task(
            queries,
            candidates,
            sample_weight=weights,
            candidate_sampling_probability=probability,
            candidate_ids=ids,
            compute_metrics=False,
            compute_batch_metrics=False,
        )

    def __call__(self, queries: Any, candidates: Any, ids: Any, probability: Any, weights: Any) -> Any:
        """Mean loss a query.

        Args:
            queries: float32 [Q, D] query vectors, divided by the temperature.
            candidates: float32 [C, D] item vectors, C >= Q; row i < Q is the target of query i.
            ids: int32 [C] catalogue rows of the candidates.
            probability: float32 [C] how often each item is expected among the candidates, divided by C; its logarithm
                is taken off the logits, which makes the sampled softmax an estimate of the full one (Yi 2019).
            weights: float32 [Q] weight of each query; 0 leaves it out.
        """
        total = self._loss(queries, candidates, ids, probability, weights)
        return total / tf.maximum(replicas.total(tf.reduce_sum(weights)), 1.0)


class _SmoothedSoftmax(tf.keras.losses.Loss):  # type: ignore[misc]
    """The task's loss with label smoothing, which must leave removed candidates out."""

    def __init__(self, smoothing: float) -> None:
        super().__init__(reduction=tf.keras.losses.Reduction.SUM)
        self._smoothing = smoothing

    def call(self, labels: Any, scores: Any) -> Any:
        """float32 [Q] of one-hot float32 [Q, C] labels; TFRS puts removed candidates at the bottom of the range."""
        own = tf.reduce_sum(labels * scores, axis=1)
        return masked_cross_entropy(scores, own, scores > _REMOVED, self._smoothing)


def masked_cross_entropy(logits: Any, own: Any, allowed: Any, smoothing: float) -> Any:
    """Cross-entropy of each row's target among the allowed candidates, float32 [Q].

    Args:
        logits: float32 [Q, C].
        own: float32 [Q] logit of the target, one of `logits`.
        allowed: bool [Q, C]; the target is allowed.
        smoothing: Share of the probability that is spread evenly over the allowed candidates (Szegedy 2016).
    """
    total = tf.reduce_logsumexp(tf.where(allowed, logits, logits.dtype.min), axis=1)
    if not smoothing:
        return total - own
    kept = tf.cast(allowed, logits.dtype)
    mean = tf.reduce_sum(tf.where(allowed, logits, 0.0), axis=1) / tf.reduce_sum(kept, axis=1)
    return total - (1 - smoothing) * own - smoothing * mean


class RankingTask:
    """Target above hard negatives, and the observed value.

    Args:
        values: Where values lie; the head predicts how many deviations one is above the median.
    """

    def __init__(self, values: ValueScale = AS_OBSERVED) -> None:
        self._values = values
        total = tf.keras.losses.Reduction.SUM
        self._order = tfrs.tasks.Ranking(
            tf.keras.losses.CategoricalCrossentropy(from_logits=True, reduction=total)
        )
        self._value = tfrs.tasks.Ranking(tf.keras.losses.Huber(_HUBER, reduction=total))
        self._order_loss = tf.function(self._order_rows)
        self._value_loss = tf.function(self._value_rows)

    def _order_rows(self, labels: Any, scores: Any, weights: Any) -> Any:
        return self._order(labels, scores, sample_weight=weights, compute_metrics=False)

    def _value_rows(self, labels: Any, predictions: Any, weights: Any) -> Any:
        return self._value(labels, predictions, sample_weight=weights, compute_metrics=False)

    def order_loss(self, scores: Any, weights: Any) -> Any:
        """Mean cross-entropy of the target among its negatives (listwise softmax).

        Args:
            scores: float32 [Q, 1 + M] ranking scores, the target first.
            weights: float32 [Q].
        """
        labels = tf.one_hot(tf.zeros([tf.shape(scores)[0]], tf.int32), tf.shape(scores)[1])
        total = self._order_loss(labels, scores, weights)
        return total / tf.maximum(replicas.total(tf.reduce_sum(weights)), 1.0)

    def value_loss(self, values: Any, predictions: Any, weights: Any) -> Any:
        """Mean Huber loss of the value in deviations from the median, over the rows whose value was observed.

        Amounts have tails: squared, a single order of ten thousand pieces would outweigh all else that the head learns.

        Args:
            values: float32 [Q], NaN = not observed.
            predictions: float32 [Q] deviations from the median.
            weights: float32 [Q].
        """
        observed = weights * tf.cast(tf.math.is_finite(values), tf.float32)
        values = (values - self._values.median) / self._values.deviation
        values = tf.where(tf.math.is_finite(values), values, tf.zeros_like(values))
        total = self._value_loss(values[:, tf.newaxis], predictions[:, tf.newaxis], observed)
        return total / tf.maximum(replicas.total(tf.reduce_sum(observed)), 1.0)
