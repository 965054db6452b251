"""What the neighbours of a history say of candidates, in stock ops and at a cost that no catalogue size changes."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf


def neighbour_scores(ids: Any, weights: Any, history: Any, candidates: Any, half_life: float | None) -> Any:
    """Sum of the weights that lead from the events of a history to each candidate.

    The neighbours of the history are looked up among the sorted candidates, so neither a row of the catalogue's length
    nor a table of all pairs is made.

    Args:
        ids: int32 [T + 1, K], see `NeighbourTable`.
        weights: float32 [T + 1, K].
        history: int32 [B, L] numbers of ID embeddings, oldest first; 0 = padding or an item without one.
        candidates: int32 [B, N] numbers of ID embeddings, in any order, repeated or not; 0 = none.
        half_life: Events after which an event counts half: the newest weighs 1; None = all weigh 1.

    Returns:
        float32 [B, N]; 0 for a candidate that is nobody's neighbour.
    """
    rows, found = tf.shape(history)[0], tf.shape(history)[1] * tf.shape(ids)[1]
    speaks = tf.gather(weights, history) * recency(history > 0, half_life)[:, :, tf.newaxis]
    neighbours, speaks = tf.reshape(tf.gather(ids, history), [rows, found]), tf.reshape(speaks, [rows, found])
    # One candidate that is none stands before the others, so that there is always one to look at.
    count = tf.shape(candidates)[1] + 1
    sorted_candidates = tf.sort(tf.pad(candidates, [[0, 0], [1, 0]]), axis=1)
    place = tf.minimum(tf.searchsorted(sorted_candidates, neighbours), count - 1)
    wanted = tf.equal(tf.gather(sorted_candidates, place, batch_dims=1), neighbours) & (neighbours > 0)
    offset = tf.range(rows)[:, tf.newaxis] * count
    sums = tf.math.unsorted_segment_sum(
        tf.where(wanted, speaks, 0.0), tf.where(wanted, place + offset, -1), rows * count
    )
    return tf.gather(sums, tf.searchsorted(sorted_candidates, candidates) + offset)


def recency(real: Any, half_life: float | None) -> Any:
    """float32 [B, L] weights of the real events of bool [B, L], oldest first, 0 elsewhere: the newest weighs 1.

    Args:
        real: Padding may stand anywhere and ages nothing.
        half_life: Events after which one counts half; None = all count the same.
    """
    there = tf.cast(real, tf.float32)
    if half_life is None:
        return there
    age = tf.cumsum(there, axis=1, reverse=True, exclusive=True)
    return there * tf.pow(0.5, age / half_life)
