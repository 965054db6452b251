"""The text encoder, a BERT: strings in, one vector a text out, tokenizer included, in ops that TensorFlow Serving has.

KerasNLP's own preprocessor packs with `TFText>RoundRobinTrim`, which servers before 2.20 do not register; here the
WordPiece op tokenizes and plain TensorFlow cuts and packs (trainer/packed_bert.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainer.errors import ConfigError
from trainer.keras_compat import keras, tf
from trainer.packed_bert import FrozenBert
from trainer.text_chunks import PIECES_AT_ONCE, Chunks
from trainer.text_cleaning import cleaned, without_case_folding

Pooling = Literal["mean", "cls"]

_CLEANING = 2  # of trainer/text_cleaning.py; another one gives other vectors


class TextEncoder(tf.Module):  # type: ignore[misc]
    """A BERT with its tokenizer; a text's vector is the mean of the last layer over its tokens, or its first row.

    Everything but `encode_all` must run inside `tf.function`: outside, the tokenizer answers with Python lists.

    Args:
        tokenizer: A KerasNLP BertTokenizer.
        backbone: A KerasNLP BertBackbone with the same vocabulary; its weights are copied.
        max_tokens: Longer texts are cut, [CLS] and [SEP] included.
        max_characters: Longer texts are cut before they are tokenized, which bounds the work a request can cause.
        pooling: "mean" (Reimers and Gurevych 2019) or "cls", the vector of the first piece (Devlin 2018).
    """

    def __init__(
        self,
        tokenizer: Any,
        backbone: Any,
        *,
        max_tokens: int,
        max_characters: int,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__(name="text_encoder")
        self.tokenizer = tokenizer
        self._splitter = without_case_folding(tokenizer)
        self.backbone = backbone
        self.bert = FrozenBert(backbone)
        self.max_tokens = min(max_tokens, backbone.max_sequence_length)
        self.max_characters = max_characters
        self.pooling = pooling
        self._compiled = _Compiled(self.__call__)

    @property
    def width(self) -> int:
        """E, the length of a text vector."""
        return int(self.backbone.hidden_dim)

    def with_backbone(self, backbone: Any) -> TextEncoder:
        """The same tokenizer, limits and pooling around another BERT of the same vocabulary."""
        return TextEncoder(
            self.tokenizer,
            backbone,
            max_tokens=self.max_tokens,
            max_characters=self.max_characters,
            pooling=self.pooling,
        )

    def with_bert(self, bert: Any) -> TextEncoder:
        """The same encoder around another forward pass, which is called as a `FrozenBert` is."""
        other = self.with_backbone(self.backbone)
        other.bert = bert
        return other

    def pack(self, texts: Any) -> Any:
        """Tokenizes string [B]: int32 ragged [B, (T)] word pieces with [CLS] and [SEP], at most `max_tokens` a row."""
        texts = tf.strings.substr(texts, 0, self.max_characters, unit="UTF8_CHAR")
        pieces = self.pieces(texts)[:, : self.max_tokens - 2]
        rows = tf.shape(texts)[0]
        cls = tf.fill([rows, 1], tf.constant(self.tokenizer.cls_token_id, tf.int32))
        sep = tf.fill([rows, 1], tf.constant(self.tokenizer.sep_token_id, tf.int32))
        return tf.concat([cls, pieces, sep], axis=1)

    def pieces(self, texts: Any) -> Any:
        """Word pieces of string [B], all of them and nothing else: int32 ragged [B, (T)]."""
        return tf.cast(self._splitter(cleaned(texts, lower=self.tokenizer.lowercase)), tf.int32)

    def __call__(self, texts: Any) -> Any:
        """Encodes: string [B] to float32 [B, E]; an empty text gets the zero vector."""
        vectors = self._vectors(self.pack(texts))
        return tf.where(is_text(texts)[:, tf.newaxis], vectors, tf.zeros_like(vectors))

    def _vectors(self, pieces: Any) -> Any:
        """float32 [B, E] of int32 ragged [B, (T)] word pieces; short texts share a chunk with short ones."""
        order = tf.argsort(pieces.row_lengths(), stable=True)
        lengths = tf.gather(tf.cast(pieces.row_lengths(), tf.int32), order)
        chunks = Chunks(lengths, PIECES_AT_ONCE)

        def body(chunk: Any, found: Any) -> tuple[Any, Any]:
            part = tf.gather(pieces, chunks.texts(order, chunk))
            return chunk + 1, found.write(chunk, self.pool(self.bert(part), chunks.lengths(chunk)))

        vectors = chunks.loop(body, chunks.rows(self.width))[1].concat()
        return tf.gather(vectors, tf.math.invert_permutation(order))

    def pool(self, states: Any, lengths: Any) -> Any:
        """One vector a text.

        Args:
            states: float32 [T, E] the last layer, the pieces of all texts one after the other.
            lengths: int32 [B] pieces of each text, none of them 0.

        Returns:
            float32 [B, E].
        """
        if self.pooling == "cls":
            return tf.gather(states, tf.cumsum(lengths, exclusive=True))
        return tf.math.segment_mean(states, tf.repeat(tf.range(tf.size(lengths)), lengths))

    def take_weights(self) -> None:
        """Serves with the weights that the backbone has now."""
        self.bert.take(self.backbone)

    def encode_present(self, texts: Any) -> Any:
        """Like calling, but rows without text cost nothing: BERT runs on the others only, or not at all."""
        present = is_text(texts)
        rows = tf.where(present)
        shape = tf.stack([tf.shape(texts, out_type=tf.int64)[0], tf.constant(self.width, tf.int64)])

        def encode() -> Any:
            return tf.scatter_nd(rows, self(tf.boolean_mask(texts, present)), shape)

        vectors = tf.cond(tf.reduce_any(present), encode, lambda: tf.zeros(shape, tf.float32))
        return tf.ensure_shape(vectors, [None, self.width])

    def encode_all(
        self, texts: Sequence[str], batch_size: int, progress: Any = None
    ) -> npt.NDArray[np.float32]:
        """Encodes many texts, the short together with the short so that little padding is computed.

        Args:
            texts: [N] texts.
            batch_size: Texts encoded at once.
            progress: Called with the number of texts done after each batch.

        Returns:
            float32 [N, E].
        """
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self._compiled.encode(
                tf.constant([texts[row] for row in rows], tf.string)
            ).numpy()
            if progress is not None:
                progress(len(rows))
        return vectors

    def digest(self) -> str:
        """SHA-256 (hex) of weights, vocabulary and limits: equal digests give equal vectors."""
        state = hashlib.sha256()
        settings = [
            _CLEANING,
            self.max_tokens,
            self.max_characters,
            self.tokenizer.lowercase,
            self.tokenizer.strip_accents,
        ]
        state.update(json.dumps([*settings, self.pooling, self.tokenizer.get_vocabulary()]).encode())
        for variable in self.backbone.weights:
            state.update(np.ascontiguousarray(variable.numpy()).data)
        return state.hexdigest()


class _Compiled:
    """Holds the compiled encoder out of sight of TensorFlow's tracking, so that it is not saved a second time."""

    def __init__(self, encode: Any) -> None:
        self.encode = tf.function(encode, input_signature=[tf.TensorSpec([None], tf.string)])


def is_text(texts: Any) -> Any:
    """Bool [B]: which rows hold more than white space."""
    return tf.not_equal(tf.strings.strip(texts), "")


def load_text_encoder(
    name: str, *, max_tokens: int, max_characters: int, pooling: Pooling = "mean"
) -> TextEncoder:
    """Loads tokenizer and weights.

    Args:
        name: A folder in KerasHub's or Hugging Face's layout, or the name of a KerasHub BERT preset.
        max_tokens: See `TextEncoder`.
        max_characters: See `TextEncoder`.
        pooling: See `TextEncoder`.

    Raises:
        ConfigError: there is no such folder or preset, or it does not hold a BERT.
    """
    import keras_nlp

    looks_like_path = "/" in name or name.startswith(".")
    if looks_like_path and "://" not in name and not Path(name).is_dir():
        raise ConfigError(
            f"There is no text encoder folder {name}. Run `twotower fetch`, or set train.text.encoder to a folder or a "
            "KerasHub preset name."
        )
    try:
        tokenizer = keras_nlp.models.BertTokenizer.from_preset(name)
        backbone = keras_nlp.models.BertBackbone.from_preset(name)
    except Exception as error:  # KerasHub raises many kinds for a preset that it cannot read
        raise ConfigError(f"Cannot load a BERT from {name!r}: {error}") from error
    backbone.trainable = False
    return TextEncoder(
        _as_bert_does(tokenizer),
        backbone,
        max_tokens=max_tokens,
        max_characters=max_characters,
        pooling=pooling,
    )


def _as_bert_does(tokenizer: Any) -> Any:
    """An uncased BERT strips accents (Devlin 2018, reference tokenizer); KerasNLP's loader leaves that off."""
    if not tokenizer.lowercase or tokenizer.strip_accents:
        return tokenizer
    config = tokenizer.get_config() | {"strip_accents": True, "vocabulary": tokenizer.get_vocabulary()}
    return type(tokenizer).from_config(config)


def build_text_encoder(
    vocabulary: Sequence[str], *, width: int, layers: int, heads: int, max_tokens: int = 64, seed: int = 0
) -> TextEncoder:
    """A small BERT with random weights, for tests and for trying the whole path without a download.

    Args:
        vocabulary: Word pieces; must hold [PAD], [UNK], [CLS], [SEP] and [MASK].
        width: E.
        layers: Transformer layers.
        heads: Attention heads; must divide `width`.
        max_tokens: Longest input.
        seed: Of the weights.
    """
    import keras_nlp

    keras.utils.set_random_seed(seed)
    tokenizer = keras_nlp.models.BertTokenizer(
        vocabulary=list(vocabulary), lowercase=True, strip_accents=True
    )
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=2 * width,
        max_sequence_length=max_tokens,
    )
    backbone.trainable = False
    return TextEncoder(tokenizer, backbone, max_tokens=max_tokens, max_characters=4096)
