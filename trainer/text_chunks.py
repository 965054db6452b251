"""Many texts a part at a time: what stands between layers is as large as a part, and so is the padding in attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.keras_compat import tf

PIECES_AT_ONCE = 1024
"""Word pieces of a chunk where nothing is differentiated: what a layer makes of them stays in the processor's cache."""


class Chunks:
    """Consecutive texts, cut into chunks of about as many word pieces.

    Args:
        lengths: int32 [B] word pieces of each text.
        limit: Pieces; a chunk ends with the first text that reaches a multiple of it.
        count: Number of chunks, the last ones empty where fewer hold all texts; by default so many as do.
    """

    def __init__(self, lengths: Any, limit: Any, count: int | None = None) -> None:
        ends = tf.cumsum(lengths)
        number = (ends - 1) // limit
        self._lengths = lengths
        self.count = count or tf.reduce_max(tf.pad(number, [[1, 0]], constant_values=-1)) + 1
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

    def rows(self, width: int) -> Any:
        """Where a loop collects float32 rows of this width, chunk after chunk."""
        return tf.TensorArray(tf.float32, size=self.count, element_shape=[None, width], infer_shape=False)

    def loop(self, body: Callable[..., tuple[Any, ...]], *begin: Any) -> tuple[Any, ...]:
        """One chunk after the other: two at a time would take the memory of two.

        Args:
            body: From a chunk and what the one before it left to the next chunk and what is left to it.
            begin: What the first one is given.
        """
        found: tuple[Any, ...] = tf.while_loop(
            lambda chunk, *_: chunk < self.count, body, (tf.constant(0), *begin), parallel_iterations=1
        )
        return found
