"""BERT as a masked language model: other words for some words of a text.

Its head is that of Hugging Face's `BertForMaskedLM`, where the encoder's folder has one. Sentence encoders come without
it; then the last layer's vectors are compared with the embeddings of the word pieces directly, which are the head's
output matrix in a BERT as it was trained (tied weights, Devlin 2018, reference code). Without the head's dense layer
that is an approximation, so what comes out should be held against a floor of similarity with the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.text_encoder import TextEncoder

_TOKENS = re.compile(r"\w+|[^\w\s]+|\s+")
_SHORTEST = 3  # letters of a word that is replaced; shorter ones are mostly function words
_TEXTS_AT_ONCE = 64
_EPSILON = 1e-12


class MaskedHead(NamedTuple):
    """Between the last layer and the embeddings of the word pieces; W is the encoder's width, V its vocabulary.

    Attributes:
        kernel: float32 [W, W].
        bias: float32 [W].
        scale: float32 [W] of the layer normalization.
        offset: float32 [W] of the layer normalization.
        output_bias: float32 [V].
    """

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    output_bias: npt.NDArray[np.float32]


class MaskedLanguageModel:
    """An encoder that fills gaps.

    Args:
        encoder: Tokenizer and BERT.
        head: None = compare with the embeddings of the word pieces directly.

    Raises:
        ConfigError: the vocabulary has no [MASK], or no word that could be put anywhere.
    """

    def __init__(self, encoder: TextEncoder, head: MaskedHead | None) -> None:
        vocabulary = encoder.tokenizer.get_vocabulary()
        words = np.array([_is_word(piece) for piece in vocabulary])
        if "[MASK]" not in vocabulary or not words.any():
            raise ConfigError(
                "Words cannot be replaced: the text encoder's vocabulary has no [MASK], or no whole words. Take a BERT "
                "as train.text.encoder, or leave masked_words out of features.items.text_variants.methods."
            )
        self._encoder, self._vocabulary, self._head = encoder, vocabulary, head
        self._mask = vocabulary.index("[MASK]")
        self._barred = tf.constant(np.where(words, 0.0, -np.inf).astype(np.float32))
        self._pieces = tf.function(encoder.pieces, input_signature=[tf.TensorSpec([None], tf.string)])
        ragged = tf.RaggedTensorSpec([None, None], tf.int32, row_splits_dtype=tf.int64)
        self._likely = tf.function(
            self._likeliest,
            input_signature=[ragged, tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32)],
        )

    @classmethod
    def of(cls, encoder: TextEncoder, name: str) -> MaskedLanguageModel:
        """With the head of the encoder's folder, if it has one.

        Args:
            encoder: Loaded from there.
            name: The folder, or the name of a preset, which has no head that can be read.
        """
        return cls(encoder, read_head(Path(name)))

    def substituted(
        self, texts: Sequence[str], share: float, candidates: int, seeds: Sequence[int]
    ) -> list[str]:
        """Each text with other words in the place of some.

        Words of three letters or more are drawn, masked all at once, and each replaced by one of the likeliest whole
        words other than itself, drawn by their probabilities (Kobayashi 2018, section 2, without its labels).

        Args:
            texts: [N] texts.
            share: Of these words that are replaced; one at least, and never the only word of a text.
            candidates: How many of the likeliest words are drawn from.
            seeds: [N] of the draws.

        Returns:
            [N] texts; where nothing can be replaced the text as it was.
        """
        out: list[str] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = slice(start, start + _TEXTS_AT_ONCE)
            gaps = [
                _Gaps.drawn(text, share, np.random.default_rng(seed))
                for text, seed in zip(texts[part], seeds[part], strict=True)
            ]
            out += self._filled(gaps, candidates)
        return out

    def _filled(self, texts: list[_Gaps], candidates: int) -> list[str]:
        flat = [token for text in texts for token in text.tokens]
        pieces = self._pieces(tf.constant(flat, tf.string)).to_list() if flat else []
        rows, places, place, done = [], [], 0, 0
        for text in texts:
            row = [self._encoder.tokenizer.cls_token_id]
            for number in range(len(text.tokens)):
                if number in text.gaps and len(row) < self._encoder.max_tokens - 1:
                    places.append(place + len(row))
                    row.append(self._mask)
                else:
                    text.gaps.discard(number)
                    row += pieces[done + number]
            row = [*row[: self._encoder.max_tokens - 1], self._encoder.tokenizer.sep_token_id]
            done, place = done + len(text.tokens), place + len(row)
            rows.append(row)
        if not places:
            return [text.filled({}) for text in texts]
        count = min(candidates + 1, len(self._vocabulary))  # one of them may be the word itself
        ragged = tf.ragged.constant(rows, tf.int32, row_splits_dtype=tf.int64)
        scores, words = (
            part.numpy() for part in self._likely(ragged, tf.constant(places, tf.int64), tf.constant(count))
        )
        found, out = 0, []
        for text in texts:
            chosen = {}
            for number in sorted(text.gaps):
                names = [self._vocabulary[word] for word in words[found]]
                chosen[number] = text.draw(number, names, scores[found], candidates)
                found += 1
            out.append(text.filled(chosen))
        return out

    def _likeliest(self, pieces: Any, places: Any, count: Any) -> tuple[Any, Any]:
        """float32 [M, K] scores and int32 [M, K] numbers of the likeliest whole words at int64 [M] flat places."""
        states = tf.gather(self._encoder.bert(pieces), places)
        if self._head is not None:
            states = tf.nn.gelu(tf.matmul(states, self._head.kernel) + self._head.bias)
            mean, variance = tf.nn.moments(states, axes=[1], keepdims=True)
            states = tf.nn.batch_normalization(
                states, mean, variance, self._head.offset, self._head.scale, _EPSILON
            )
        embeddings = tf.convert_to_tensor(self._encoder.backbone.token_embedding.embeddings.value)
        scores = tf.matmul(states, embeddings, transpose_b=True) + self._barred
        if self._head is not None:
            scores += self._head.output_bias
        top = tf.math.top_k(scores, count)
        return top.values, top.indices


class _Gaps:
    """A text in tokens, some of which are to be replaced."""

    def __init__(self, tokens: list[str], gaps: set[int], rng: np.random.Generator) -> None:
        self.tokens, self.gaps, self._rng = tokens, gaps, rng

    @classmethod
    def drawn(cls, text: str, share: float, rng: np.random.Generator) -> _Gaps:
        """Draws what is to be replaced."""
        tokens = _TOKENS.findall(text)
        words = [number for number, token in enumerate(tokens) if token[0].isalnum()]
        long = [number for number in words if tokens[number].isalpha() and len(tokens[number]) >= _SHORTEST]
        count = min(max(1, round(share * len(long))), len(long), len(words) - 1)
        return cls(
            tokens, {int(n) for n in rng.choice(long, count, replace=False)} if count > 0 else set(), rng
        )

    def draw(
        self, number: int, words: list[str], scores: npt.NDArray[np.float32], candidates: int
    ) -> str | None:
        """One of the words, best first, other than the token at `number`; None where there is none."""
        own = self.tokens[number].lower()
        allowed = [
            place for place, word in enumerate(words) if word.lower() != own and np.isfinite(scores[place])
        ][:candidates]
        if not allowed:
            return None
        weights = np.exp(scores[allowed].astype(np.float64) - scores[allowed[0]])
        return _in_case_of(self.tokens[number], words[self._rng.choice(allowed, p=weights / weights.sum())])

    def filled(self, words: dict[int, str | None]) -> str:
        """The text with words in the place of tokens."""
        return "".join(words.get(number) or token for number, token in enumerate(self.tokens))


def read_head(folder: Path) -> MaskedHead | None:
    """The head of a folder in Hugging Face's layout; None if it has none.

    Args:
        folder: With `model.safetensors`.
    """
    from safetensors import safe_open

    file, head = folder / "model.safetensors", "cls.predictions."
    if not file.is_file():
        return None
    with safe_open(file, framework="numpy") as tensors:
        if f"{head}transform.dense.weight" not in tensors.keys():  # noqa: SIM118  no dictionary
            return None
        return MaskedHead(
            np.ascontiguousarray(tensors.get_tensor(f"{head}transform.dense.weight").T),
            tensors.get_tensor(f"{head}transform.dense.bias"),
            tensors.get_tensor(f"{head}transform.LayerNorm.weight"),
            tensors.get_tensor(f"{head}transform.LayerNorm.bias"),
            tensors.get_tensor(f"{head}bias"),
        )


def _is_word(piece: str) -> bool:
    return len(piece) > 1 and piece.isalpha()


def _in_case_of(example: str, word: str) -> str:
    if example.isupper():
        return word.upper()
    return word.capitalize() if example[0].isupper() else word
