"""Loss scaling for float16 that leaves tables to their rows."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import keras, tf


class LossScale(keras.optimizers.LossScaleOptimizer):  # type: ignore[misc]
    """Keras' dynamic loss scaling (Micikevicius 2018, section 3.2), which turns no tf.IndexedSlices into whole tables.

    The loss is multiplied by a number that is halved, and the step left out, where a gradient overflows, and doubled
    after 2,000 steps in which none did.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One step with gradients of the scaled loss."""
        scale = tf.convert_to_tensor(self.dynamic_scale)
        slopes = [_map(lambda values: values / scale, slope) for slope in grads]
        finite = [tf.reduce_all(tf.math.is_finite(_values(slope))) for slope in slopes if slope is not None]
        tf.cond(
            tf.reduce_all(finite),
            lambda: self._go_on(slopes, trainable_variables),
            self._stateful_handle_non_finite_grads,
        )

    def _go_on(self, slopes: list[Any], variables: Any) -> None:
        self.inner_optimizer.apply(slopes, variables)
        good, scale = (tf.convert_to_tensor(value) for value in (self.step_counter, self.dynamic_scale))
        enough = tf.equal(good, self.dynamic_growth_steps - 1)
        self.dynamic_scale.assign(tf.where(enough, scale * 2.0, scale))
        self.step_counter.assign(tf.where(enough, tf.zeros_like(good), good + 1))


def _values(slope: Any) -> Any:
    return slope.values if isinstance(slope, tf.IndexedSlices) else slope


def _map(change: Any, slope: Any) -> Any:
    if isinstance(slope, tf.IndexedSlices):
        return tf.IndexedSlices(change(slope.values), slope.indices, slope.dense_shape)
    return None if slope is None else change(slope)
