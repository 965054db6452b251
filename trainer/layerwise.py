"""AdamW whose learning rate differs by variable: the lower a layer of a pretrained BERT, the slower it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.keras_compat import keras, tf
from trainer.optimizers.fused import apply_adam, beta_powers


class LayerwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW with a factor on the learning rate of some variables (Howard and Ruder 2018, section 3.2).

    Weight decay (Loshchilov and Hutter 2017) keeps the common rate and leaves vectors alone: biases and
    normalizations. All variables are updated by TensorFlow's fused op.

    Args:
        factors: Of the learning rate, by `path` of the variable; 1 for all others.
        settings: As keras.optimizers.AdamW takes them.
    """

    def __init__(self, factors: Mapping[str, float], **settings: Any) -> None:
        super().__init__(**settings)
        self._factors = dict(factors)
        self._factor_of: list[float] = []

    def build(self, variables: list[Any]) -> None:
        """Makes the moments of all variables."""
        super().build(variables)
        self._factor_of = [self._factors.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        index = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, tf.float32)
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * (float(self.weight_decay) * rate))
        moments = (self._momentums[index], self._velocities[index])
        apply_adam(self, variable, moments, gradient, rate * self._factor_of[index], beta_powers(self))

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        """Done by `update_step`."""

    def _use_weight_decay(self, variable: Any) -> bool:
        return len(variable.shape) > 1 and super()._use_weight_decay(variable)


def bert_factors(backbone: Any, decay: float) -> dict[str, float]:
    """Factors of a BERT's variables: 1 in its last layer, `decay` times that of the layer above in each one below.

    Args:
        backbone: A built KerasNLP BertBackbone.
        decay: In (0, 1].
    """
    layers = backbone.transformer_layers
    parts = [(layer, len(layers) - 1 - depth) for depth, layer in enumerate(layers)]
    embeddings = (
        backbone.token_embedding,
        backbone.position_embedding,
        backbone.segment_embedding,
        backbone.embeddings_layer_norm,
    )
    parts += [(layer, len(layers)) for layer in embeddings]
    return {weight.path: decay**steps for layer, steps in parts for weight in layer.weights}
