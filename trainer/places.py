"""Where values of a batch go when they are scattered."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf


def in_rows(columns: Any) -> Any:
    """int32 [B, M, 2] places (row, column) of int32 [B, M] columns, each in its own row."""
    rows = tf.expand_dims(tf.range(tf.shape(columns)[0]), 1)
    return tf.stack([tf.zeros_like(columns) + rows, columns], axis=2)
