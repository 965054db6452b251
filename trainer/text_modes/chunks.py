"""Gradients of many texts in little memory: hidden values are kept for a chunk of the texts at a time.

As gradient caching has it (GradCache, Gao 2021): all texts are encoded and nothing but their vectors is kept; when the
gradient of the loss with respect to the vectors is known, each chunk is encoded once more and differentiated. The
gradients are those of one pass over all texts; a second forward pass is what it costs. Texts that fit into one chunk
are differentiated directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.keras_compat import tf

Forward = Callable[[Any, Any, Sequence[Any]], Any]
"""From states float32 [T, W], lengths int32 [B] and weights to float32 [rows, width]: a row a piece, or a text."""


class Chunks:
    """Consecutive texts, cut into chunks of about as many word pieces.

    Args:
        lengths: int32 [B] word pieces of each text.
        limit: A chunk ends with the first text that reaches a multiple of it; no text is longer.
    """

    def __init__(self, lengths: Any, limit: int) -> None:
        ends = tf.cumsum(lengths)
        number = (ends - 1) // limit
        self._lengths = lengths
        self.count = tf.reduce_max(tf.pad(number, [[1, 0]], constant_values=-1)) + 1
        self._texts = tf.searchsorted(number, tf.range(self.count + 1))
        self._pieces = tf.gather(tf.pad(ends, [[1, 0]]), self._texts)

    def lengths(self, chunk: Any) -> Any:
        """int32 lengths of the texts of a chunk."""
        return self.texts(self._lengths, chunk)

    def texts(self, values: Any, chunk: Any) -> Any:
        """The rows of a chunk of values that have one row a text."""
        return values[self._texts[chunk] : self._texts[chunk + 1]]

    def pieces(self, values: Any, chunk: Any) -> Any:
        """The rows of a chunk of values that have one row a word piece."""
        return values[self._pieces[chunk] : self._pieces[chunk + 1]]


def in_chunks(forward: Forward, states: Any, lengths: Any, weights: Sequence[Any], limit: int) -> Any:
    """The rows of `forward` for all texts, a chunk at a time; not to be differentiated.

    Args:
        forward: Its rows must have as many columns as `states`.
        states: float32 [T, W], the pieces of all texts one after the other.
        lengths: int32 [B] pieces of each text.
        weights: What `forward` takes.
        limit: Word pieces in a chunk.
    """
    chunks = Chunks(lengths, limit)
    found = _rows_of_chunks(chunks, states)

    def body(chunk: Any, found: Any) -> tuple[Any, Any]:
        rows = forward(chunks.pieces(states, chunk), chunks.lengths(chunk), weights)
        return chunk + 1, found.write(chunk, rows)

    return _loop(chunks, body, found)[1].concat()


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
        lambda: forward(states, lengths, weights),
    )


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

    rows = _rows_of_chunks(chunks, states)
    _, slopes, *sums = _loop(chunks, body, rows, *(tf.zeros_like(weight) for weight in taught))
    return [slopes.concat() if states_learn else tf.zeros_like(states), *sums]


def _replaced(weights: Sequence[Any], taught: Sequence[Any], learned: Sequence[bool]) -> list[Any]:
    rest = iter(taught)
    return [next(rest) if learns else weight for weight, learns in zip(weights, learned, strict=True)]


def _rows_of_chunks(chunks: Chunks, states: Any) -> Any:
    return tf.TensorArray(
        tf.float32, size=chunks.count, element_shape=[None, states.shape[-1]], infer_shape=False
    )


def _loop(chunks: Chunks, body: Callable[..., tuple[Any, ...]], *begin: Any) -> tuple[Any, ...]:
    """One chunk after the other: two at a time would take the memory of two."""
    found: tuple[Any, ...] = tf.while_loop(
        lambda chunk, *_: chunk < chunks.count, body, (tf.constant(0), *begin), parallel_iterations=1
    )
    return found
