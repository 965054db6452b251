"""The ranking head: re-orders retrieved items by looking at the query, the item and the history together."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import keras, tf
from trainer.precision import Dense


class RankingHead(keras.layers.Layer):  # type: ignore[misc]
    """Corrects the retrieval score of a (query, item) pair, and predicts how the user would value it.

    The history is read again from the item's side (target attention, Deep Interest Network, Zhou 2018): what in it
    speaks for this item. The correction starts at zero, so an untrained head keeps the order of retrieval.

    Args:
        width: D of query and item vectors.
        hidden_units: Of the network over the pair.
        dropout: On its hidden layer.
    """

    def __init__(self, width: int, hidden_units: int, dropout: float) -> None:
        super().__init__(name="ranking_head")
        self.width = width
        self._attention = Dense(width, use_bias=False, name="attention")
        self._hidden = Dense(hidden_units, activation="gelu", name="hidden")
        self._correction = keras.layers.Dense(1, kernel_initializer="zeros", name="correction")
        self._value = keras.layers.Dense(1, name="value")
        self._drop = keras.layers.Dropout(dropout)
        self._hidden_units = hidden_units

    def build(self, input_shape: Any = None) -> None:
        """Builds all parts."""
        self._attention.build((None, None, self.width))
        self._hidden.build((None, None, 5 * self.width + 2))
        self._correction.build((None, None, self._hidden_units))
        self._value.build((None, None, self._hidden_units))
        self.built = True

    def call(
        self,
        query: Any,
        history: Any,
        history_mask: Any,
        items: Any,
        item_scale: Any,
        strength: float = 1.0,
        training: bool | None = None,
    ) -> tuple[Any, Any]:
        """Scores pairs.

        Args:
            query: float32 [B, D] query vectors.
            history: float32 [B, L, D] item vectors of the history.
            history_mask: bool [B, L] real events.
            items: float32 [B, N, D] item vectors.
            item_scale: float32 [B, N] logarithm of each item's training count plus one.
            strength: How much of the correction is added to the retrieval score.
            training: Whether to drop.

        Returns:
            float32 [B, N] ranking scores (logits: higher is better) and float32 [B, N] predicted values
            (deviations from the median, `ValueScale`).
        """
        dots = tf.einsum("bd,bnd->bn", query, items)
        pooled = self._pool(history, history_mask, items)
        queries = tf.broadcast_to(query[:, tf.newaxis], tf.shape(items))
        pair = [
            queries,
            items,
            queries * items,
            pooled,
            pooled * items,
            dots[:, :, tf.newaxis],
            item_scale[:, :, tf.newaxis],
        ]
        hidden = self._drop(self._hidden(tf.concat(pair, axis=2)), training=training)
        return dots + strength * self._correction(hidden)[:, :, 0], self._value(hidden)[:, :, 0]

    def _pool(self, history: Any, mask: Any, items: Any) -> Any:
        """float32 [B, N, D]: the history, weighted by how much each event has to do with each item."""
        logits = tf.einsum("bnd,bld->bnl", self._attention(items), history) * self.width**-0.5
        weights = tf.nn.softmax(tf.where(mask[:, tf.newaxis], logits, -1e9))
        weights *= tf.cast(mask[:, tf.newaxis], tf.float32)
        return tf.einsum("bnl,bld->bnd", weights, history)
