"""TensorFlow's fused op of Adam: one pass over a variable instead of a dozen, the same up to rounding."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf


def apply_adam(optimizer: Any, variable: Any, moments: Any, gradient: Any, rate: Any, powers: Any) -> None:
    """One step of Adam (Kingma and Ba 2015) of one variable.

    Args:
        optimizer: A Keras Adam; both betas and epsilon are its.
        variable: tf.Variable.
        moments: Keras variables of its shape: the mean gradient and the mean squared gradient.
        gradient: Tensor of its shape.
        rate: float scalar.
        powers: float scalars, both betas to the power of the number of this step; see `beta_powers`.
    """
    mean, square = moments
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=mean.value.handle,
        v=square.value.handle,
        beta1_power=powers[0],
        beta2_power=powers[1],
        lr=rate,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=tf.convert_to_tensor(gradient),
    )


def beta_powers(optimizer: Any) -> list[Any]:
    """float32 scalars: both betas to the power of the number of the step that is being taken."""
    done = tf.cast(optimizer.iterations + 1, tf.float32)
    return [tf.pow(beta, done) for beta in (optimizer.beta_1, optimizer.beta_2)]
