"""BERT's forward pass over the real word pieces of a batch alone: padding is never computed.

The pieces of all texts stand one after the other, [T, W]; every dense layer sees those T rows. Only attention, which
mixes the pieces of one text, works on a padded layout. The weights are those of a KerasNLP BertBackbone, with the
three projections of attention in one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.keras_compat import tf

_EPSILON = 1e-12  # of the layer normalizations (Devlin 2018, reference code)


class LayerWeights(NamedTuple):
    """One Transformer layer; W is its width, F that of its feed-forward part.

    A matrix that a low-rank update is learned for stands beside it: (kernel [I, O], bias [O], down [I, R], up [R, O]),
    see `trainer/text_modes/lora.py`.

    Attributes:
        attention: [W, 3 W] and [3 W]: queries, keys and values side by side.
        output: [W, W] and [W].
        attention_norm: float32 [W] scale and [W] offset.
        inner: [W, F] and [F].
        outer: [F, W] and [W].
        norm: float32 [W] scale and [W] offset.
    """

    attention: tuple[Any, ...]
    output: tuple[Any, ...]
    attention_norm: tuple[Any, Any]
    inner: tuple[Any, ...]
    outer: tuple[Any, ...]
    norm: tuple[Any, Any]


class BertWeights(NamedTuple):
    """All weights that the forward pass reads.

    Attributes:
        pieces: [V, W] embeddings of the word pieces.
        positions: [P, W] embeddings of the positions, that of the first segment added.
        norm: float32 [W] scale and [W] offset.
        layers: From the first to the last.
    """

    pieces: Any
    positions: Any
    norm: tuple[Any, Any]
    layers: tuple[LayerWeights, ...]


class FrozenBert(tf.Module):  # type: ignore[misc]
    """A copy of a BERT's weights, laid out for the packed forward pass once and for all.

    Args:
        backbone: A built KerasNLP BertBackbone.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__(name="frozen_bert")
        self.heads = int(backbone.num_heads)
        self.weights = tf.nest.map_structure(
            lambda value: tf.Variable(value, trainable=False), weights_of(backbone)
        )

    def take(self, backbone: Any) -> None:
        """Copies the weights of a backbone of the same shape."""
        tf.nest.map_structure(lambda own, value: own.assign(value), self.weights, weights_of(backbone))

    @property
    def resources(self) -> tuple[Any, ...]:
        """None; see `trainer/quantisation.py`."""
        return ()

    def __call__(self, pieces: Any) -> Any:
        """As `encode_packed`."""
        return encode_packed(self.weights, pieces, self.heads)


def weights_of(backbone: Any) -> BertWeights:
    """The weights of a KerasNLP BertBackbone as tensors; gradients reach the backbone's variables through them.

    Args:
        backbone: Its layers must be built.
    """
    return BertWeights(
        pieces=tf.convert_to_tensor(backbone.token_embedding.embeddings.value),
        positions=backbone.position_embedding.position_embeddings.value
        + backbone.segment_embedding.embeddings.value[0],
        norm=_norm(backbone.embeddings_layer_norm),
        layers=tuple(_layer(layer) for layer in backbone.transformer_layers),
    )


def _layer(layer: Any) -> LayerWeights:
    attention = layer._self_attention_layer
    projections = (attention._query_dense, attention._key_dense, attention._value_dense)
    width = int(attention._query_dense.kernel.shape[0])
    kernel = tf.concat([tf.reshape(part.kernel.value, [width, width]) for part in projections], axis=1)
    bias = tf.concat([tf.reshape(part.bias.value, [width]) for part in projections], axis=0)
    out = attention._output_dense
    return LayerWeights(
        attention=(kernel, bias),
        output=(tf.reshape(out.kernel.value, [width, width]), tf.convert_to_tensor(out.bias.value)),
        attention_norm=_norm(layer._self_attention_layer_norm),
        inner=_dense(layer._feedforward_intermediate_dense),
        outer=_dense(layer._feedforward_output_dense),
        norm=_norm(layer._feedforward_layer_norm),
    )


def _dense(layer: Any) -> tuple[Any, Any]:
    return tf.convert_to_tensor(layer.kernel.value), tf.convert_to_tensor(layer.bias.value)


def _norm(layer: Any) -> tuple[Any, Any]:
    return tf.convert_to_tensor(layer.gamma.value), tf.convert_to_tensor(layer.beta.value)


def _keep(x: Any) -> Any:
    return x


def encode_packed(weights: BertWeights, pieces: Any, heads: int, drop: Callable[[Any], Any] = _keep) -> Any:
    """The last layer's vectors of the word pieces.

    Args:
        weights: The dense layers compute in the dtype of their matrices, sums and normalizations in float32.
        pieces: int32 ragged [B, (T)] word pieces, [CLS] and [SEP] included; at most P each.
        heads: Attention heads; divides W.
        drop: Leaves hidden values out in training; given the embeddings and the output of each part of each layer.

    Returns:
        float32 [T of all rows together, W].
    """
    x = drop(embedded(weights, pieces))
    return through_layers(weights.layers, x, pieces.row_lengths(), heads, drop)


def embedded(weights: BertWeights, pieces: Any) -> Any:
    """What the first layer reads: float32 [T, W] of int32 ragged [B, (T)] word pieces."""
    positions = tf.ragged.range(tf.cast(pieces.row_lengths(), tf.int32)).flat_values
    x = tf.gather(weights.pieces, pieces.flat_values) + tf.gather(weights.positions, positions)
    return _normalized(tf.cast(x, tf.float32), weights.norm)


def through_layers(
    layers: Sequence[LayerWeights], x: Any, lengths: Any, heads: int, drop: Callable[[Any], Any] = _keep
) -> Any:
    """The word pieces after some layers.

    Args:
        layers: One after the other; none leaves `x` as it is.
        x: float32 [T, W], the pieces of all texts one after the other.
        lengths: int [B] how many pieces each text has; they add up to T.
        heads: Attention heads; divides W.
        drop: As `encode_packed` takes it.

    Returns:
        float32 [T, W].
    """
    layout = _Layout(tf.cast(lengths, tf.int32))
    for layer in layers:
        mixed = _attention(_linear(x, layer.attention), layout, heads)
        mixed = drop(tf.cast(_linear(mixed, layer.output), tf.float32))
        x = _normalized(x + mixed, layer.attention_norm)
        inner = tf.nn.gelu(_linear(x, layer.inner), approximate=True)
        outer = drop(tf.cast(_linear(inner, layer.outer), tf.float32))
        x = _normalized(x + outer, layer.norm)
    return x


class _Layout:
    """Where each piece stands in the padded layout [B, L]."""

    def __init__(self, lengths: Any) -> None:
        self.rows = tf.shape(lengths)[0]
        self.length = tf.maximum(tf.reduce_max(lengths), 0)  # of no rows the greatest is the least int32
        positions = tf.ragged.range(lengths)
        self._slots = tf.cast(positions.value_rowids(), tf.int32) * self.length + positions.flat_values
        mask = tf.sequence_mask(lengths, self.length)
        self.bias = tf.where(mask, np.float32(0), np.float32(-1e9))[:, tf.newaxis, tf.newaxis, :]

    def padded(self, x: Any) -> Any:
        """[T, C] to [B, L, C], zeros in the place of padding."""
        width = x.shape[-1]
        flat = tf.scatter_nd(self._slots[:, tf.newaxis], x, [self.rows * self.length, width])
        return tf.reshape(flat, [self.rows, self.length, width])

    def packed(self, x: Any) -> Any:
        """[B, L, C] to [T, C]."""
        return tf.gather(tf.reshape(x, [self.rows * self.length, x.shape[-1]]), self._slots)


def _attention(projected: Any, layout: _Layout, heads: int) -> Any:
    """[T, 3 W] queries, keys and values to [T, W] mixed values (Vaswani 2017, section 3.2)."""
    width = projected.shape[-1] // 3
    size = width // heads
    split = tf.reshape(layout.padded(projected), [layout.rows, layout.length, 3, heads, size])
    query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
    scores = tf.cast(tf.matmul(query * size**-0.5, key, transpose_b=True), tf.float32) + layout.bias
    mixed = tf.matmul(tf.cast(tf.nn.softmax(scores), value.dtype), value)
    return layout.packed(tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [layout.rows, layout.length, width]))


def _linear(x: Any, weights: tuple[Any, ...]) -> Any:
    kernel, bias, *low_rank = weights
    x = tf.cast(x, kernel.dtype)
    out = tf.nn.bias_add(tf.matmul(x, kernel), tf.cast(bias, kernel.dtype))
    if low_rank:
        down, up = low_rank
        out += tf.matmul(tf.matmul(x, down), up)
    return out


def _normalized(x: Any, weights: tuple[Any, Any]) -> Any:
    scale, offset = weights
    mean = tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=-1, keepdims=True)
    factor = tf.math.rsqrt(variance + _EPSILON)
    return (x - mean) * factor * scale + offset
