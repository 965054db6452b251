"""A head start for new items, as one more number of every vector, so that any search by vectors gives it.

A model learns from events in which new items could not be chosen, and expects that they never are. Where they should be
shown as readily as others of their kind, an item without an ID embedding has `FLAG` behind its vector and a query the
head start divided by it; the product adds the head start to the scores of new items and nothing to others.
"""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf

#: Small beside the length of a vector, so that new items do not look alike for it; large enough for int8.
FLAG = 0.25


def item_flags(ids: Any) -> Any:
    """float32 [B, 1] of int32 [B] rows of ID embeddings, 0 = none."""
    return FLAG * tf.cast(tf.equal(ids, 0), tf.float32)[:, tf.newaxis]


def query_flags(rows: Any, head_start: Any) -> Any:
    """float32 [B, 1] for int32 scalar B queries, whose products with flagged items shall rise by `head_start`."""
    return tf.fill([rows, 1], tf.cast(head_start, tf.float32) / FLAG)
