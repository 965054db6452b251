"""The words of a text, each with a learned vector: what a frozen encoder blurs (brands, names, sizes) stays apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.keras_compat import keras, tf
from trainer.optimizers.groups import read_by_rows

_LONGEST = 32
_BATCH = 65_536


@dataclass(frozen=True)
class WordSpec:
    """The words that have a vector.

    Attributes:
        text: Name of the text feature they stand in.
        values: The words, in the most texts first; row i of the table is word i - 1.
        weights: One an entry of `values`: ln(texts / texts with the word), so that rare words count more
            (Sparck Jones 1972).
        limit: Words of a text that are read, from its beginning.
    """

    text: str
    values: tuple[str, ...]
    weights: tuple[float, ...]
    limit: int = _LONGEST

    @classmethod
    def measured(cls, text: str, texts: Sequence[str], size: int, limit: int = _LONGEST) -> WordSpec:
        """The `size` words that stand in the most texts, and in two at least."""
        often, _ = frequent_words(texts, size, limit)
        return cls(text, tuple(often), tuple(math.log(len(texts) / count) for count in often.values()), limit)


def frequent_words(texts: Sequence[str], size: int, limit: int) -> tuple[dict[str, int], int]:
    """How many texts each of the `size` most frequent words stands in, most first, two at least; and all words' number.

    Args:
        texts: To count.
        size: At most so many words.
        limit: Words of a text that are read, from its beginning.
    """
    counts: Counter[bytes] = Counter()
    total = 0
    for start in range(0, len(texts), _BATCH):
        for row in split_words(tf.constant(texts[start : start + _BATCH], tf.string), limit).numpy():
            words = [word for word in row if word]
            total += len(words)
            counts.update(set(words))
    often = sorted((-count, word) for word, count in counts.items() if count >= 2)[:size]
    return {word.decode("utf-8", "replace"): -count for count, word in often}, total


def split_words(texts: Any, limit: int) -> Any:
    """The first `limit` words of string [B] texts, without case, as string [B, W] padded with "".

    A word is a run of letters and digits; each Chinese or Japanese character is a word of its own, as BERT has it.
    """
    plain = tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), r"[^\pL\pM\pN]+", " ")
    plain = tf.strings.regex_replace(plain, r"[\p{Han}\p{Hiragana}\p{Katakana}]", r" \0 ")
    words = tf.strings.split(tf.strings.strip(plain))[:, :limit]
    return words.to_tensor(default_value="")


class WordVectors(keras.layers.Layer):  # type: ignore[misc]
    """A text as the weighted sum of its words' vectors, weights of unit length (TF-IDF with learned axes).

    Args:
        spec: The words.
        width: D.
        dropout: Share of the words that are hidden in a step.
        seed: Of the dropout.
    """

    def __init__(self, spec: WordSpec, width: int, dropout: float, seed: int, name: str = "words") -> None:
        super().__init__(name=name)
        self.spec = spec
        self.width = width
        self.dropout = dropout
        self._seeds = keras.random.SeedGenerator(seed)
        self._weights = np.asarray([0.0, *spec.weights], np.float32)

    def build(self, input_shape: Any = None) -> None:
        """The table; its first row stands for no word and is never read."""
        self._table = read_by_rows(
            self.add_weight(
                shape=(len(self.spec.values) + 1, self.width), initializer="uniform", name="table"
            )
        )
        self.built = True

    def call(self, rows: Any, training: bool | None = None) -> tuple[Any, Any]:
        """float32 [B, D] vectors and bool [B], whether a known word is there, of int32 [B, W] rows, 0 = no word."""
        weights = tf.gather(tf.constant(self._weights), rows)
        if training and self.dropout:
            kept = keras.random.uniform(tf.shape(rows), seed=self._seeds) >= self.dropout
            weights *= tf.cast(kept, tf.float32)
        weights = tf.math.l2_normalize(weights, axis=1)
        places = tf.where(weights > 0)
        words, columns = tf.unique(tf.gather_nd(rows, places))  # the rows of the table that are read
        sparse = tf.SparseTensor(
            tf.stack([places[:, 0], tf.cast(columns, tf.int64)], axis=1),
            tf.gather_nd(weights, places),
            [tf.shape(rows, tf.int64)[0], tf.size(words, tf.int64)],
        )
        vectors = tf.sparse.sparse_dense_matmul(sparse, tf.gather(self._table.value, words))
        return vectors, tf.reduce_any(weights > 0, axis=1)
