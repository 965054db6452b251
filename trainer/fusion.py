"""Makes one vector of several: what an item is made of, what a query is made of."""

from __future__ import annotations

from typing import Any, Literal

from trainer.keras_compat import keras
from trainer.precision import Dense

FusionKind = Literal["concatenate", "gate", "attention", "add"]


class Fusion(keras.layers.Layer):  # type: ignore[misc]
    """Projects each component to the same width and merges those that are present.

    - "concatenate": one dense layer over all components side by side, absent ones as zeros.
    - "gate": each component times a gate in (0, 1) that sees all of them, then the sum (gated fusion, Arevalo 2017).
    - "attention": a weighted mean, the weights a softmax over the present components.
    - "add": the sum; a component that has the width already is not projected (as UniSRec joins ID and text, Hou 2022).

    Args:
        width: D of the result.
        kind: How to merge.
        dropout: On each projected component.
    """

    def __init__(self, width: int, kind: FusionKind, dropout: float, name: str) -> None:
        super().__init__(name=name)
        self.width = width
        self.kind = kind
        self.dropout = dropout

    def build(self, component_shapes: list[Any], present_shapes: Any = None) -> None:
        """One projection a component."""
        self._projections: list[Any] = []
        for index, shape in enumerate(component_shapes):
            plain = self.kind == "add" and shape[-1] == self.width
            projection = (
                keras.layers.Identity()
                if plain
                else Dense(self.width, use_bias=False, name=f"projection_{index}")
            )
            projection.build((None, shape[-1]))
            self._projections.append(projection)
        count = len(component_shapes)
        self._drop = keras.layers.Dropout(self.dropout)
        self._merge: Any = None
        if self.kind == "concatenate":
            self._merge = Dense(self.width, name="merge")
        elif self.kind == "gate":
            self._merge = Dense(count * self.width, activation="sigmoid", name="gate")
        if self._merge is not None:
            self._merge.build((None, count * self.width))
        if self.kind == "attention":
            self._score = keras.layers.Dense(1, name="score")
            self._score.build((None, self.width))
        self.built = True

    def projected(self, place: int, component: Any) -> Any:
        """A component, float32 [..., its width], as float32 [..., D]; nothing is dropped."""
        return self._projections[place](component)

    def call(self, components: list[Any], present: list[Any], training: bool | None = None) -> Any:
        """Merges.

        Args:
            components: One float32 [B, width of the component] each.
            present: One bool [B] each: rows in which the component exists.
            training: Whether to drop.

        Returns:
            float32 [B, D].
        """
        projected = [
            self._drop(projection(component), training=training) * keras.ops.cast(there, "float32")[:, None]
            for projection, component, there in zip(self._projections, components, present, strict=True)
        ]
        if self.kind == "add":
            return sum(projected[1:], projected[0])
        stacked = keras.ops.stack(projected, axis=1)
        flat = keras.ops.concatenate(projected, axis=1)
        if self.kind == "concatenate":
            return self._merge(flat)
        if self.kind == "gate":
            gates = keras.ops.reshape(self._merge(flat), (-1, len(projected), self.width))
            return keras.ops.sum(gates * stacked, axis=1)
        logits = self._score(keras.ops.tanh(stacked))[:, :, 0]
        there = keras.ops.stack(present, axis=1)
        weights = keras.ops.softmax(keras.ops.where(there, logits, -1e9), axis=1)
        return keras.ops.sum(weights[:, :, None] * stacked, axis=1)
