"""The items of a history that are most like an item."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf


def nearest(items: Any, history: Any, rows: Any, count: int) -> tuple[Any, Any]:
    """By the cosine of their vectors.

    Args:
        items: float32 [B, N, D] vectors.
        history: float32 [B, L, D] vectors.
        rows: int32 [B, L] catalogue rows of the history, -1 = padding.
        count: E, how many to find for each item.

    Returns:
        float32 [B, N, E] cosines, the highest first, -inf from where there are no more; int32 [B, N, E] rows, -1 there.
    """
    cosines = tf.matmul(_unit(items), _unit(history), transpose_b=True)
    cosines = tf.where(rows[:, tf.newaxis, :] >= 0, cosines, -float("inf"))
    cosines = tf.pad(cosines, [[0, 0], [0, 0], [0, count]], constant_values=-float("inf"))
    best = tf.math.top_k(cosines, k=count)
    padded = tf.pad(rows, [[0, 0], [0, count]], constant_values=-1)
    places = tf.reshape(best.indices, [tf.shape(rows)[0], tf.shape(items)[1] * count])
    return best.values, tf.reshape(tf.gather(padded, places, batch_dims=1), tf.shape(best.indices))


def _unit(vectors: Any) -> Any:
    return tf.math.l2_normalize(vectors, axis=-1)
