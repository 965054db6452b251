"""Gradients of many texts in little memory: hidden values are kept for a chunk of the texts at a time.

As gradient caching has it (GradCache, Gao 2021): all texts are encoded and nothing but their vectors is kept; when the
gradient of the loss with respect to the vectors is known, each chunk is encoded once more and differentiated. The
gradients are those of one pass over all texts; a second forward pass is what it costs. Texts that fit into one chunk
are differentiated directly, in a few groups of their own padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.keras_compat import tf
from trainer.text_chunks import Chunks

Forward = Callable[[Any, Any, Sequence[Any]], Any]
"""From states float32 [T, W], lengths int32 [B] and weights to float32 [rows, width]: a row a piece, or a text."""
_GROUPS = 4


def in_chunks(forward: Forward, states: Any, lengths: Any, weights: Sequence[Any], limit: Any) -> Any:
    """The rows of `forward` for all texts, a chunk at a time; not to be differentiated.

    Args:
        forward: Its rows must have as many columns as `states`.
        states: float32 [T, W], the pieces of all texts one after the other.
        lengths: int32 [B] pieces of each text.
        weights: What `forward` takes.
        limit: Word pieces in a chunk.
    """
    chunks = Chunks(lengths, limit)
    found = chunks.rows(states.shape[-1])

    def body(chunk: Any, found: Any) -> tuple[Any, Any]:
        rows = forward(chunks.pieces(states, chunk), chunks.lengths(chunk), weights)
        return chunk + 1, found.write(chunk, rows)

    return chunks.loop(body, found)[1].concat()


def differentiable(
    forward: Forward,
    states: Any,
    lengths: Any,
    weights: Sequence[Any],
    learned: Sequence[bool],
    limit: int,
    *,
    states_learn: bool,
) -> Any:
    """As `in_chunks`, with gradients.

    Args:
        forward: As in `in_chunks`; gives one row a text.
        states: As in `in_chunks`.
        lengths: As in `in_chunks`.
        weights: What `forward` takes.
        learned: Which of `weights` have a gradient.
        limit: Word pieces in a chunk.
        states_learn: Whether `states` have a gradient.

    Returns:
        float32 [B, W].
    """
    states = states if states_learn else tf.stop_gradient(states)
    many = Chunks(lengths, limit).count > 1
    return tf.cond(
        many,
        lambda: _cached(forward, states, lengths, weights, learned, limit, states_learn),
        lambda: _in_groups(forward, states, lengths, weights),
    )


def _in_groups(forward: Forward, states: Any, lengths: Any, weights: Sequence[Any]) -> Any:
    """The rows of `forward` for all texts, neighbours of about the same number of pieces in all at a time."""
    limit = tf.maximum(1, (tf.reduce_sum(lengths) + _GROUPS - 1) // _GROUPS)
    groups = Chunks(lengths, limit, _GROUPS)
    parts = [
        forward(groups.pieces(states, group), groups.lengths(group), weights) for group in range(_GROUPS)
    ]
    return tf.concat(parts, axis=0)


def _cached(
    forward: Forward,
    states: Any,
    lengths: Any,
    weights: Sequence[Any],
    learned: Sequence[bool],
    limit: int,
    states_learn: bool,
) -> Any:
    taught = [weight for weight, learns in zip(weights, learned, strict=True) if learns]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def encode(states: Any, *taught: Any) -> tuple[Any, Callable[[Any], list[Any]]]:
        given = _replaced(weights, taught, learned)

        def gradient(upstream: Any) -> list[Any]:
            upstream = tf.convert_to_tensor(upstream)  # whoever gathers vectors sends slices back
            return _gradients(forward, states, lengths, given, learned, limit, states_learn, upstream)

        return in_chunks(forward, states, lengths, given, limit), gradient

    return encode(states, *taught)


def _gradients(
    forward: Forward,
    states: Any,
    lengths: Any,
    weights: Sequence[Any],
    learned: Sequence[bool],
    limit: int,
    states_learn: bool,
    upstream: Any,
) -> list[Any]:
    """Gradients with respect to the states (zeros if they do not learn) and the learned weights."""
    chunks = Chunks(lengths, limit)
    taught = [weight for weight, learns in zip(weights, learned, strict=True) if learns]

    def body(chunk: Any, slopes: Any, *sums: Any) -> tuple[Any, ...]:
        part = chunks.pieces(states, chunk)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([part, *taught] if states_learn else taught)
            rows = forward(part, chunks.lengths(chunk), weights)
        wanted = [part, *taught] if states_learn else taught
        found = tape.gradient(rows, wanted, output_gradients=chunks.texts(upstream, chunk))
        if states_learn:
            slopes = slopes.write(chunk, found.pop(0))
        return chunk + 1, slopes, *(total + slope for total, slope in zip(sums, found, strict=True))

    rows = chunks.rows(states.shape[-1])
    _, slopes, *sums = chunks.loop(body, rows, *(tf.zeros_like(weight) for weight in taught))
    return [slopes.concat() if states_learn else tf.zeros_like(states), *sums]


def _replaced(weights: Sequence[Any], taught: Sequence[Any], learned: Sequence[bool]) -> list[Any]:
    rest = iter(taught)
    return [next(rest) if learns else weight for weight, learns in zip(weights, learned, strict=True)]
