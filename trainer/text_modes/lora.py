"""Low-rank updates of a BERT's matrices (LoRA, Hu 2021): W + alpha / rank * down x up, of which W stays as it is."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import keras, tf
from trainer.packed_bert import LayerWeights
from trainer.train_config import LoraConfig

_FUSED = ("query", "key", "value")  # side by side in the packed layout


class LoraLayer:
    """The low-rank updates of one Transformer layer.

    "down" begins as a dense layer's weights would (uniform, variance 1 / (3 inputs)) and "up" as zeros, so that
    training begins at the model as it was (Hu 2021, section 4.1).

    Args:
        layer: Of a built KerasNLP BertBackbone.
        index: Which one it is, for names.
        config: Rank, scale and matrices.
        seed: Of the initial values.
    """

    def __init__(self, layer: Any, index: int, config: LoraConfig, seed: int) -> None:
        self._layer = layer
        self._scale = config.alpha / config.rank
        self._parts: dict[str, tuple[Any, Any]] = {}
        for place, target in enumerate(config.targets):
            inputs, outputs = _shape(layer, target)
            uniform = keras.initializers.VarianceScaling(
                1 / 3, "fan_in", "uniform", seed=seed + 101 * index + place
            )
            self._parts[target] = (
                _variable((inputs, config.rank), uniform, f"lora_{index}_{target}_down"),
                _variable((config.rank, outputs), "zeros", f"lora_{index}_{target}_up"),
            )
        self._before: dict[str, Any] = {
            target: _dense(layer, target).kernel.numpy() for target in config.targets
        }

    @property
    def variables(self) -> list[Any]:
        """The Keras variables that learn."""
        return [variable for part in self._parts.values() for variable in part]

    def beside(self, weights: LayerWeights) -> LayerWeights:
        """The layer's weights with the updates beside their matrices."""
        changed = {
            target: (*getattr(weights, target), *self._factors(target))
            for target in self._parts
            if target not in _FUSED
        }
        if fused := [target for target in _FUSED if target in self._parts]:
            changed["attention"] = (*weights.attention, *self._fused(fused))
        return weights._replace(**changed)

    def merge(self) -> None:
        """Makes the matrices what they were in the beginning plus the updates, which are zero from there on."""
        for target, (_, up) in self._parts.items():
            update, before = tf.matmul(*self._factors(target)), self._before[target]
            _dense(self._layer, target).kernel.assign(before + tf.reshape(update, before.shape))
            up.assign(tf.zeros(up.shape))

    def _factors(self, target: str) -> tuple[Any, Any]:
        down, up = self._parts[target]
        return tf.convert_to_tensor(down.value), up.value * self._scale

    def _fused(self, targets: list[str]) -> tuple[Any, Any]:
        """One pair for all projections: each reads its own columns of "down" and writes its own of "up"."""
        factors = {target: self._factors(target) for target in targets}
        rows = []
        for target, (_, up) in factors.items():
            blocks = [up if other == target else tf.zeros_like(up) for other in _FUSED]
            rows.append(tf.concat(blocks, axis=1))
        return tf.concat([down for down, _ in factors.values()], axis=1), tf.concat(rows, axis=0)


def _dense(layer: Any, target: str) -> Any:
    attention = layer._self_attention_layer
    return {
        "query": attention._query_dense,
        "key": attention._key_dense,
        "value": attention._value_dense,
        "output": attention._output_dense,
        "inner": layer._feedforward_intermediate_dense,
        "outer": layer._feedforward_output_dense,
    }[target]


def _shape(layer: Any, target: str) -> tuple[int, int]:
    """Inputs and outputs of a matrix, heads side by side."""
    width, inner = (int(size) for size in layer._feedforward_intermediate_dense.kernel.shape)
    return {"inner": (width, inner), "outer": (inner, width)}.get(target, (width, width))


def _variable(shape: tuple[int, int], initializer: Any, name: str) -> Any:
    return keras.Variable(initializer, shape=shape, dtype="float32", name=name)
