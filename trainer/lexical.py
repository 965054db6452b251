"""Words compared as words, inside the product of vectors: a sketch of BM25.

An encoder knows what a text is about and forgets its letters, so it misses who asks for a brand or a model by name,
which BM25 (Robertson and Zaragoza 2009) finds. Here BM25's sum over shared words becomes the product of two vectors
that stand behind the learned ones: each word has a random direction of a few signs in `width` places, found by
hashing (sparse Johnson-Lindenstrauss, Kane and Nelson 2014); an item's vector is the weighted sum of its words'
directions and a query's that of its own. So any search by vectors also searches words, new words included. The
product differs from BM25's score by noise of about one `sqrt(width)`-th of the lengths of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.keras_compat import tf
from trainer.string_lookup import StringLookup
from trainer.wishes import Wishes
from trainer.words import frequent_words, split_words

LEXICAL = "lexical"
"""Name of the sketch among an item's inputs."""
K1, B = 1.2, 0.75
"""Lucene's defaults: how soon repeated words stop to count, and how much long texts are held back."""
_SIGNS = 8
_LONGEST_WORD = 32  # characters that a word may have on average
_BATCH = 8192


@dataclass(frozen=True)
class LexicalSpec:
    """How much the words of a catalogue weigh.

    Attributes:
        values: Words that stand in two texts or more, in the most texts first.
        weights: One an entry of `values`: BM25's ln(1 + (N - n + .5) / (n + .5)), N texts, n with the word.
        unknown: Weight of every other word, as if it stood in one text.
        mean_length: Mean number of words of a text.
        limit: Words of a text that are read, from its beginning.
    """

    values: tuple[str, ...]
    weights: tuple[float, ...]
    unknown: float
    mean_length: float
    limit: int

    @classmethod
    def measured(cls, texts: Sequence[str], size: int = 100_000, limit: int = 64) -> LexicalSpec:
        """Weights of the `size` most frequent words of `texts`."""
        often, total = frequent_words(texts, size, limit)
        return cls(
            tuple(often),
            tuple(_weight(len(texts), count) for count in often.values()),
            _weight(len(texts), 1),
            max(1.0, total / max(1, len(texts))),
            limit,
        )


def _weight(texts: int, count: int) -> float:
    return math.log1p(max(0.0, texts - count + 0.5) / (count + 0.5))


class LexicalSketch(tf.Module):  # type: ignore[misc]
    """Sketches of texts; holds the words' weights, so that they travel with an exported model.

    Args:
        spec: The words' weights.
        width: S, how many numbers a sketch has. 256 find nearly what BM25 finds, 64 a good part of it.
        name: For the variables.
    """

    def __init__(self, spec: LexicalSpec, width: int, name: str = LEXICAL) -> None:
        super().__init__(name=name)
        self.spec = spec
        self.width = width
        self._words = StringLookup(spec.values, name=f"{name}_words")
        weights = np.asarray([*spec.weights, spec.unknown], np.float32)  # row -1 is the last one
        self._weights = tf.Variable(weights, trainable=False, shape=[None], name=f"{name}_weights")

    def items(self, texts: Any) -> Any:
        """float32 [B, S] of string [B] item texts; zeros for a text without words."""
        words = self._split(texts)
        there = tf.cast(words != "", tf.float32)
        length = tf.reduce_sum(there, axis=1, keepdims=True) / self.spec.mean_length
        # Every place of a word brings its part of the saturated count.
        counted = (K1 + 1) / (_times(words) + K1 * (1 - B + B * length))
        return self._sum(words, there * counted * tf.sqrt(self._weight_of(words)))

    def all_items(self, texts: Sequence[str]) -> Any:
        """float32 [N, S] of N item texts of any number."""
        parts = [
            self.items(tf.constant(texts[start : start + _BATCH], tf.string))
            for start in range(0, len(texts), _BATCH)
        ]
        return tf.concat(parts, axis=0) if parts else tf.zeros([0, self.width])

    def queries(self, texts: Any) -> Any:
        """float32 [B, S] of string [B] queries, in which each word counts once; the product with `items` is BM25."""
        words = self._split(texts)
        there = tf.cast(words != "", tf.float32)
        return self._sum(words, there * tf.sqrt(self._weight_of(words)) / _times(words))

    def asked(self, wishes: Wishes, unwanted: float) -> Any:
        """float32 [B, S] of what texts ask for, less `unwanted` times the words that they ask to be spared."""
        return self.queries(wishes.words()) - unwanted * self.queries(wishes.unwanted)

    def _split(self, texts: Any) -> Any:
        """String [B, W] words of texts that may be anything: not UTF-8, or without end."""
        clean = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        cut = tf.strings.substr(clean, 0, _LONGEST_WORD * self.spec.limit, unit="UTF8_CHAR")
        return split_words(cut, self.spec.limit)

    def _weight_of(self, words: Any) -> Any:
        rows = self._words.lookup(words)
        weights = tf.convert_to_tensor(self._weights)
        return tf.gather(weights, tf.where(rows >= 0, rows, tf.size(weights) - 1))

    def _sum(self, words: Any, weights: Any) -> Any:
        """Directions of string [B, W] words, weighted by float32 [B, W] and added up."""
        batch = tf.shape(words)[0]
        row = tf.range(batch)[:, tf.newaxis] * self.width
        total = tf.zeros([batch * self.width])
        for key in range(_SIGNS):
            lot = tf.cast(
                tf.strings.to_hash_bucket_strong(words, 2 * self.width, [key, 0x6C657869]), tf.int32
            )
            signed = weights * (1.0 - 2.0 * tf.cast(lot % 2, tf.float32)) / math.sqrt(_SIGNS)
            places = tf.reshape(row + lot // 2, [-1])
            total += tf.math.unsorted_segment_sum(tf.reshape(signed, [-1]), places, batch * self.width)
        return tf.reshape(total, [batch, self.width])


def _times(words: Any) -> Any:
    """Float32 [B, W]: how often the word of each place of string [B, W] stands in its row."""
    return tf.reduce_sum(tf.cast(words[:, :, tf.newaxis] == words[:, tf.newaxis], tf.float32), axis=2)
