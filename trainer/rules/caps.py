"""Caps: at most so many items of a category, at most one of a variant group."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf
from trainer.places import in_rows


def category_hits(categories: Any, picked: Any) -> Any:
    """How often each category of the items of a window occurs in a list.

    Args:
        categories: int32 [B, M, W] categories of the window's items; -1 = padding.
        picked: int32 [B, P, W] categories of the list's items; -1 = padding.

    Returns:
        int32 [B, M, W]; of padding 0.
    """
    flat = tf.reshape(picked, [tf.shape(picked)[0], 1, 1, -1])
    wanted = tf.where(flat >= 0, flat, -2)  # so that padding does not equal padding
    same = tf.expand_dims(categories, 3) == wanted
    return tf.reduce_sum(tf.cast(same, tf.int32), axis=3)


def is_full(counts: Any, cap: Any) -> Any:
    """Bool [B, M]: where int32 [B, M] counts have reached int64 [B] caps; 0 = no cap."""
    cap = tf.expand_dims(cap, 1)
    return (cap > 0) & (tf.cast(counts, tf.int64) >= cap)


def category_counts(categories: Any, count: Any) -> Any:
    """How often each category occurs in a list.

    Args:
        categories: int32 [B, K, W] categories of the list's items; -1 = padding.
        count: C, how many categories there are, int32 scalar.

    Returns:
        int32 [B, C].
    """
    rows = tf.shape(categories)[0]
    flat = tf.reshape(categories, [rows, -1])
    places = in_rows(tf.where(flat >= 0, flat, count))
    return tf.scatter_nd(places, tf.ones_like(flat), tf.stack([rows, count + 1]))[:, :-1]


def same_variant(variants: Any, picked: Any) -> Any:
    """Bool [B, M]: whether int64 [B, M] groups (-1 = alone) are among int64 [B, P] groups."""
    same = tf.reduce_any(tf.expand_dims(variants, 2) == tf.expand_dims(picked, 1), axis=2)
    return same & (variants >= 0)
