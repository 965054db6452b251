"""The two learning goals, as TensorFlow Recommenders' tasks.

A TFRS task must run inside `tf.function`: Keras 3 switches AutoGraph off in its train step and TFRS relies on it.
TFRS sums its loss over a batch; here every loss is a mean over its rows, so that weights mean the same at any size.
"""

from __future__ import annotations

from typing import Any

from trainer.config import RetrievalConfig
from trainer.keras_compat import tf, tfrs


class RetrievalTask:
    """Softmax of each query's target among the targets of the other queries and sampled items.

    Args:
        config: Temperature and the removal of accidental hits.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._task = tfrs.tasks.Retrieval(
            temperature=config.temperature, remove_accidental_hits=config.remove_accidental_hits
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
            queries: float32 [Q, D] query vectors.
            candidates: float32 [C, D] item vectors, C >= Q; row i < Q is the target of query i.
            ids: int32 [C] catalogue rows of the candidates.
            probability: float32 [C] how often each item is expected among the candidates, divided by C; its logarithm
                is taken off the logits, which makes the sampled softmax an estimate of the full one (Yi 2019).
            weights: float32 [Q] weight of each query; 0 leaves it out.
        """
        total = self._loss(queries, candidates, ids, probability, weights)
        return total / tf.maximum(tf.reduce_sum(weights), 1.0)


class RankingTask:
    """Target above hard negatives, and the observed value."""

    def __init__(self) -> None:
        total = tf.keras.losses.Reduction.SUM
        self._order = tfrs.tasks.Ranking(
            tf.keras.losses.CategoricalCrossentropy(from_logits=True, reduction=total)
        )
        self._value = tfrs.tasks.Ranking(tf.keras.losses.MeanSquaredError(reduction=total))
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
        return self._order_loss(labels, scores, weights) / tf.maximum(tf.reduce_sum(weights), 1.0)

    def value_loss(self, values: Any, predictions: Any, weights: Any) -> Any:
        """Mean squared error of the value, over the rows whose value was observed.

        Args:
            values: float32 [Q], NaN = not observed.
            predictions: float32 [Q].
            weights: float32 [Q].
        """
        observed = weights * tf.cast(tf.math.is_finite(values), tf.float32)
        values = tf.where(tf.math.is_finite(values), values, tf.zeros_like(values))
        total = self._value_loss(values[:, tf.newaxis], predictions[:, tf.newaxis], observed)
        return total / tf.maximum(tf.reduce_sum(observed), 1.0)
