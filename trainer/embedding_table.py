"""Embedding tables of which a step reads few rows."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import keras, tf
from trainer.optimizers.groups import read_by_rows


class EmbeddingTable(keras.layers.Embedding):  # type: ignore[misc]
    """Keras' Embedding that never reads its table as a whole.

    Keras gathers from the table's value, and a step that also scatters into the table then copies all of it. Gathered
    from the variable, only the rows are read, and the gradient is `tf.IndexedSlices`.
    """

    def build(self, input_shape: Any = None) -> None:
        """Makes the table."""
        super().build(input_shape)
        read_by_rows(self._embeddings)

    def call(self, inputs: Any) -> Any:
        """Rows, float [..., D], of int32 or int64 [...] numbers."""
        return tf.cast(tf.gather(self._embeddings.value, inputs), self.compute_dtype)
