"""A text as parts that can be left out one by one: words, and single characters where a script has no spaces."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf

_MARK = "\x1f"
"""Unit separator; BERT's tokenizer drops control characters, so nothing is lost of a text that holds it."""


def text_parts(texts: Any, limit: int) -> Any:
    """Cuts texts at white space, and around Chinese characters as BERT does (Devlin 2018, reference tokenizer).

    The parts of a text, joined without anything between them, give the text again, less white space at its ends.

    Args:
        texts: string [B].
        limit: Most parts; the last one holds all that is left.

    Returns:
        string [B, W], W <= limit, padded with "" on the right.
    """
    marked = tf.strings.regex_replace(tf.strings.strip(texts), _MARK, "")
    marked = tf.strings.regex_replace(marked, r"(\p{Han}[\s\p{Z}]*)", rf"{_MARK}\1{_MARK}")
    marked = tf.strings.regex_replace(marked, r"([\s\p{Z}]+)", rf"\1{_MARK}")
    parts = tf.strings.split(marked, _MARK)
    parts = tf.ragged.boolean_mask(parts, tf.not_equal(parts, "")).to_tensor("")
    rest = tf.strings.reduce_join(parts[:, limit - 1 :], axis=1, keepdims=True)
    return tf.concat(
        [parts[:, : limit - 1], rest[:, : tf.maximum(tf.shape(parts)[1] - limit + 1, 0)]], axis=1
    )


def join_parts(parts: Any, there: Any) -> Any:
    """The text that is left of some parts.

    Args:
        parts: string [W].
        there: bool [C, W].

    Returns:
        string [C].
    """
    return tf.strings.reduce_join(tf.where(there, parts, ""), axis=1)
