"""A BERT part of which learns: all of it, its upper layers, or low-rank updates of its matrices."""

from __future__ import annotations

from typing import Any

from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.layerwise import bert_factors
from trainer.packed_bert import BertWeights, LayerWeights, embedded, through_layers, weights_of
from trainer.text_chunks import PIECES_AT_ONCE
from trainer.text_modes.chunks import differentiable, in_chunks
from trainer.text_modes.lora import LoraLayer
from trainer.train_config import TextConfig


class TrainableBert:
    """Word pieces in, text vectors out, with gradients for what `train.text.mode` lets learn.

    Args:
        backbone: A built KerasNLP BertBackbone; all but its pooled layer may change.
        config: Mode, what belongs to it, and memory.
        pool: From the last layer's float32 [T, W] and int32 [B] lengths to float32 [B, W]; see `TextEncoder.pool`.
        seed: Of low-rank updates.

    Raises:
        ConfigError: the BERT does not have the layers that the settings name.
    """

    def __init__(self, backbone: Any, config: TextConfig, pool: Any, seed: int) -> None:
        self._backbone = backbone
        self._limit = config.pieces_at_once
        self._pool = pool
        self._heads = int(backbone.num_heads)
        self._all = config.mode == "full"
        layers = _learning_layers(config, len(backbone.transformer_layers))
        self._first = min(layers)
        backbone.trainable = True  # or their tf.Variables would have no gradient
        backbone.pooled_dense.trainable = False
        self._lora = {
            index: LoraLayer(backbone.transformer_layers[index], index, config.lora, seed)
            for index in (layers if config.mode == "lora" else ())
        }
        self.variables = self._learning_variables(layers)

    def __call__(self, pieces: Any) -> Any:
        """Encodes.

        Args:
            pieces: int32 ragged [B, (T)]; short texts beside short ones, or padding is computed in attention.

        Returns:
            float32 [B, W].
        """
        weights = self.weights()
        below, above = weights.layers[: self._first], weights.layers[self._first :]
        lengths = tf.cast(pieces.row_lengths(), tf.int32)
        states = embedded(weights, pieces)
        if below:
            few = tf.minimum(self._limit, PIECES_AT_ONCE)
            states = in_chunks(self._through, tf.stop_gradient(states), lengths, below, few)
        flat = tf.nest.flatten(above)

        def pooled(states: Any, lengths: Any, flat: Any) -> Any:
            layers = tf.nest.pack_sequence_as(above, list(flat))
            return self._pool(self._through(states, lengths, layers), lengths)

        learned = [learns for layer in above for learns in self._learns(layer)]
        return differentiable(pooled, states, lengths, flat, learned, self._limit, states_learn=self._all)

    def weights(self) -> BertWeights:
        """What the forward pass reads; gradients reach `variables` through it."""
        weights = weights_of(self._backbone)
        layers = tuple(
            self._lora[index].beside(layer) if index in self._lora else layer
            for index, layer in enumerate(weights.layers)
        )
        return weights._replace(layers=layers)

    def merge(self) -> None:
        """Puts low-rank updates into the matrices, so that the backbone alone holds what was learned."""
        for layer in self._lora.values():
            layer.merge()

    def factors(self, decay: float) -> dict[str, float]:
        """Factors of the learning rate by path of the variable; see `bert_factors`."""
        last = len(self._backbone.transformer_layers) - 1
        low_rank = {
            variable.path: decay ** (last - index)
            for index, layer in self._lora.items()
            for variable in layer.variables
        }
        return bert_factors(self._backbone, decay) | low_rank

    def _through(self, states: Any, lengths: Any, layers: Any) -> Any:
        return through_layers(layers, states, lengths, self._heads)

    def _learning_variables(self, layers: tuple[int, ...]) -> list[Any]:
        if self._lora:
            return [variable for layer in self._lora.values() for variable in layer.variables]
        parts = [self._backbone.transformer_layers[index] for index in layers]
        if self._all:
            parts = [*_embedding_layers(self._backbone), *parts]
        return [variable for part in parts for variable in part.trainable_weights]

    def _learns(self, layer: LayerWeights) -> list[bool]:
        """Which weights of a layer have a gradient, in the order of `tf.nest.flatten`."""
        return [place > 1 or not self._lora for part in layer for place in range(len(part))]


def _learning_layers(config: TextConfig, count: int) -> tuple[int, ...]:
    """Indices of the layers in which something learns, lowest first."""
    if config.mode == "top_layers":
        if config.top_layers > count:
            raise ConfigError(
                f"train.text.top_layers = {config.top_layers}, but the encoder has {count} layers. "
                f'Take at most {count}, or train.text.mode = "full".'
            )
        return tuple(range(count - config.top_layers, count))
    if config.mode == "lora" and config.lora.layers is not None:
        if max(config.lora.layers) >= count:
            raise ConfigError(
                f"train.text.lora.layers names layer {max(config.lora.layers)}, but the encoder's are 0 to {count - 1}."
            )
        return tuple(sorted(config.lora.layers))
    return tuple(range(count))


def _embedding_layers(backbone: Any) -> tuple[Any, ...]:
    return (
        backbone.token_embedding,
        backbone.position_embedding,
        backbone.segment_embedding,
        backbone.embeddings_layer_norm,
    )
