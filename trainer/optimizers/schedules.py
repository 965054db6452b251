"""How a learning rate goes over a training."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import keras


def warmup_cosine(rate: float, *, steps: int, warmup_steps: int) -> Any:
    """A linear rise from zero (Goyal 2017), then a cosine down to a tenth (Loshchilov and Hutter 2017).

    Args:
        rate: The highest.
        steps: Of the whole training.
        warmup_steps: Of the rise.
    """
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warmup_steps),
        alpha=0.1,
        warmup_target=rate,
        warmup_steps=warmup_steps,
    )
