"""Matrix products in a lower precision, everything around them in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from trainer.keras_compat import keras, tf

_POLICY: ContextVar[str] = ContextVar("precision", default="float32")


@contextmanager
def products_in(policy: str) -> Iterator[None]:
    """Layers of this module that are made inside multiply in this precision.

    Args:
        policy: "float32", "mixed_bfloat16" or "mixed_float16", as keras.DTypePolicy names them.
    """
    before = _POLICY.set(policy)
    try:
        yield
    finally:
        _POLICY.reset(before)


class Dense(keras.layers.Dense):  # type: ignore[misc]
    """Keras' Dense with float32 weights and results, multiplying in the precision of `products_in`.

    Normalizations, attention weights, residual sums, embedding tables and losses stay float32 (mixed precision,
    Micikevicius 2018), so nothing around it needs to know.
    """

    def __init__(self, units: int, **settings: Any) -> None:
        super().__init__(units, dtype=_POLICY.get(), **settings)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Products, float32 [..., units], of float32 [..., n]."""
        return tf.cast(super().call(inputs, training), tf.float32)
