"""The causal Transformer that reads a history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.keras_compat import keras, tf
from trainer.precision import Dense

_BUCKETS = 32
_MAX_DISTANCE = 128


def distance_buckets(length: int) -> Any:
    """int32 [length, length]: bucket of the distance from each position back to each earlier one.

    Near distances have a bucket each, far ones share logarithmic buckets (T5, Raffel 2020, section 2.1). A distance,
    not a place, so that a history cut at the front means the same as in training.
    """
    distance = np.maximum(np.arange(length)[:, None] - np.arange(length)[None, :], 0)
    exact = _BUCKETS // 2
    far = exact + np.log(np.maximum(distance, 1) / exact) / np.log(_MAX_DISTANCE / exact) * (_BUCKETS - exact)
    return np.where(distance < exact, distance, np.minimum(far, _BUCKETS - 1)).astype(np.int32)


@dataclass(frozen=True)
class Packing:
    """Real events of a batch, one after the other without the padding between them.

    Attributes:
        places: int64 [T, 2] (row, column) of each in the batch.
        shape: int64 [2] B and L.
    """

    places: Any
    shape: Any

    @classmethod
    def of(cls, mask: Any) -> Packing:
        """Of bool [B, L], True where an event is real."""
        return cls(tf.where(mask), tf.shape(mask, tf.int64))

    def pack(self, x: Any) -> Any:
        """float32 [B, L, D] to [T, D]."""
        return tf.gather_nd(x, self.places)

    def unpack(self, x: Any) -> Any:
        """float32 [T, D] to [B, L, D], zeros elsewhere."""
        return tf.scatter_nd(self.places, x, tf.concat([self.shape, tf.shape(x, tf.int64)[1:]], axis=0))


class CausalSelfAttention(keras.layers.Layer):  # type: ignore[misc]
    """Multi-head self-attention to the present and the past, with a learned bias a distance and head.

    Args:
        width: D.
        heads: Must divide D.
        max_length: Longest input.
        dropout: On the attention weights.
    """

    def __init__(
        self, width: int, heads: int, max_length: int, dropout: float, name: str = "attention"
    ) -> None:
        super().__init__(name=name)
        if width % heads:
            raise ValueError(f"`heads` must divide the width; got heads={heads}, width={width}.")
        self.width, self.heads, self.max_length = width, heads, max_length
        self._buckets = distance_buckets(max_length)
        self._drop = keras.layers.Dropout(dropout)

    def build(self, input_shape: Any) -> None:
        """Weights of projections and of the distance bias."""
        self._qkv = Dense(3 * self.width, name="qkv")
        self._qkv.build((None, None, self.width))
        self._out = Dense(self.width, name="out")
        self._out.build((None, None, self.width))
        self._bias = self.add_weight(shape=(_BUCKETS, self.heads), initializer="zeros", name="distance_bias")
        self.built = True

    def call(self, x: Any, training: bool | None = None, packing: Packing | None = None) -> Any:
        """float32 [B, L, D] to the same; row t sees rows up to t, so padding on the right is never seen.

        With a `packing` [T, D] to the same.
        """
        projected = self._qkv(x) if packing is None else packing.unpack(self._qkv(x))
        shape = tf.shape(projected)
        batch, length = shape[0], shape[1]
        split = tf.reshape(projected, [batch, length, 3, self.heads, self.width // self.heads])
        query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) * (self.width // self.heads) ** -0.5
        buckets = tf.constant(self._buckets)[:length, :length]
        scores += tf.transpose(tf.gather(tf.convert_to_tensor(self._bias), buckets), [2, 0, 1])
        causal = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)
        weights = self._drop(tf.nn.softmax(tf.where(causal, scores, -1e9)), training=training)
        mixed = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        joined = tf.reshape(mixed, [batch, length, self.width])
        return self._out(joined if packing is None else packing.pack(joined))


class TransformerBlock(keras.layers.Layer):  # type: ignore[misc]
    """Attention and a two-layer network, each behind a normalization and around a residual (pre-norm, Xiong 2020)."""

    def __init__(self, width: int, heads: int, max_length: int, dropout: float, name: str) -> None:
        super().__init__(name=name)
        self._attention = CausalSelfAttention(width, heads, max_length, dropout)
        self._norm_attention = keras.layers.LayerNormalization(epsilon=1e-6, name="norm_attention")
        self._norm_network = keras.layers.LayerNormalization(epsilon=1e-6, name="norm_network")
        self._inner = Dense(4 * width, activation="gelu", name="inner")
        self._outer = Dense(width, name="outer")
        self._drop = keras.layers.Dropout(dropout)

    def build(self, input_shape: Any) -> None:
        """Builds all parts, so that no weight is created inside a traced call."""
        for layer in (self._attention, self._norm_attention, self._norm_network, self._inner):
            layer.build(input_shape)
        self._outer.build((*input_shape[:-1], 4 * input_shape[-1]))
        self.built = True

    def call(self, x: Any, training: bool | None = None, packing: Packing | None = None) -> Any:
        """float32 [B, L, D] to the same; with a `packing` [T, D] to the same."""
        attended = self._attention(self._norm_attention(x), training=training, packing=packing)
        x = x + self._drop(attended, training=training)
        return x + self._drop(self._outer(self._inner(self._norm_network(x))), training=training)
