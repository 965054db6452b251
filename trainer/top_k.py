"""The best k of a row of scores, exactly, in stock ops."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf

_TWO_STAGE_FROM = 20_000  # columns from which the first stage pays; below, one top_k is as fast
_COLUMNS_A_PLACE = 64  # and columns for each of the k places


def exact_top_k(scores: Any, k: Any) -> tuple[Any, Any]:
    """Values and columns of the k largest scores of each row, best first, earlier columns first among equals.

    For long rows in two stages: the k best lie in the k chunks with the largest maxima, so only these are sorted.

    Args:
        scores: float32 [B, N].
        k: How many, an int or an int32 scalar; rows of fewer columns are filled up with -inf and column 0.

    Returns:
        float32 [B, k] and int32 [B, k].
    """
    columns = tf.shape(scores)[1]
    values, places = tf.cond(
        (columns >= _TWO_STAGE_FROM) & (columns >= _COLUMNS_A_PLACE * k),
        lambda: _two_stage(scores, k),
        lambda: _one_stage(scores, k),
    )
    shape = [None, known_width(k)]
    return tf.ensure_shape(values, shape), tf.ensure_shape(places, shape)


def known_width(k: Any) -> int | None:
    """The width of lists of k, an int or an int32 scalar, as far as it is known before a graph is run."""
    return k if isinstance(k, int) else None


def _one_stage(scores: Any, k: Any) -> tuple[Any, Any]:
    top = tf.math.top_k(scores, k=tf.minimum(k, tf.shape(scores)[1]))
    missing = [[0, 0], [0, k - tf.shape(top.values)[1]]]
    return tf.pad(top.values, missing, constant_values=float("-inf")), tf.pad(top.indices, missing)


def _two_stage(scores: Any, k: Any) -> tuple[Any, Any]:
    """In chunks of about sqrt(N / k), for which the N / chunk maxima and the k * chunk kept columns are the fewest."""
    rows, columns = tf.shape(scores)[0], tf.shape(scores)[1]
    chunk = tf.cast(tf.math.sqrt(tf.cast(columns, tf.float32) / tf.cast(k, tf.float32)), tf.int32)
    padded = tf.pad(scores, [[0, 0], [0, -columns % chunk]], constant_values=float("-inf"))
    chunks = tf.reshape(padded, [rows, -1, chunk])
    best = tf.sort(tf.math.top_k(tf.reduce_max(chunks, axis=2), k=k, sorted=False).indices, axis=1)
    kept = tf.reshape(tf.gather(chunks, best, batch_dims=1), [rows, k * chunk])
    top = tf.math.top_k(kept, k=k)
    return top.values, tf.gather(best, top.indices // chunk, batch_dims=1) * chunk + top.indices % chunk
