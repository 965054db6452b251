"""AdamW with groups of variables, and with tables that another rule updates row by row."""

from __future__ import annotations

from typing import Any

from trainer.distribution import replicas
from trainer.keras_compat import keras, tf
from trainer.optimizers.fused import apply_adam, beta_powers
from trainer.optimizers.groups import Group, group_numbers, is_table
from trainer.optimizers.rows import RowRule, summed, summed_in_place


class GroupedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW (Loshchilov and Hutter 2019).

    Without groups and without a rule for tables it takes Keras' steps bit by bit, except that a weight decay of zero
    is not carried out. With a rule all other variables are updated by TensorFlow's fused op, one a variable instead of
    a dozen, which is the same up to rounding.

    Args:
        groups: Variables with rates of their own.
        tables: What happens to embedding tables; None = AdamW, on every row in every step.
        fixed_shapes: Use no op whose result has a shape of its own, as XLA demands.
        settings: As keras.optimizers.AdamW takes them.
    """

    def __init__(
        self,
        groups: tuple[Group, ...] = (),
        tables: RowRule | None = None,
        fixed_shapes: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._fixed_shapes = fixed_shapes
        self._groups = groups
        self._tables = tables
        self._group_of: list[int] = []
        self._slots: list[list[Any]] = []

    def build(self, variables: list[Any]) -> None:
        """Makes what the rules remember of each variable."""
        if self.built:
            return
        super(keras.optimizers.Adam, self).build(variables)
        self._group_of = group_numbers(self._groups, variables)
        adam = {"momentum": 0.0, "velocity": 0.0}
        self._by_rows = [self._tables is not None and is_table(variable) for variable in variables]
        self._slots = [
            [
                self.add_variable_from_reference(variable, name=name, initializer=_constant(start))
                for name, start in (self._tables.slots if by_rows and self._tables else adam).items()
            ]
            for variable, by_rows in zip(variables, self._by_rows, strict=True)
        ]
        self._momentums = [slots[0] for slots in self._slots]
        self._velocities = [slots[-1] for slots in self._slots]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable.

        Args:
            gradient: Tensor or tf.IndexedSlices.
            variable: tf.Variable.
            learning_rate: float32 [1 + groups + 2], the common rate, that of each group, the powers of both betas.
        """
        index = self._get_variable_index(variable)
        rate = learning_rate[self._group_of[index]]
        decay = float(self.weight_decay or 0.0) if self._use_weight_decay(variable) else 0.0
        if self._by_rows[index] and self._tables is not None:
            if not isinstance(gradient, tf.IndexedSlices):
                raise TypeError(
                    f"{variable.name} is a table, but its gradient is dense: it was read as a whole."
                )
            slots = [slot.value for slot in self._slots[index]]
            self._tables.step(
                variable, slots, gradient, rate=rate, decay=decay, steps=tf.convert_to_tensor(self.iterations)
            )
            return
        if decay:
            variable.assign_sub(variable * decay * tf.cast(rate, variable.dtype))
        if self._tables is None:
            super().update_step(gradient, variable, rate)
            return
        apply_adam(self, variable, self._slots[index], gradient, rate, learning_rate[-2:])

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        if self._tables is None and replicas.count() > 1:
            # Keras clips slices by the norm of what they hold, and every replica would bring a part of each row.
            grads = [tf.convert_to_tensor(slope) for slope in grads]
        super()._backend_apply_gradients(_over_replicas(grads), trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        """Done before the gradients were clipped, so that replicas clip what one device would."""
        return list(grads_and_vars)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        rates = [learning_rate, *(group.rate(self.iterations) for group in self._groups), *beta_powers(self)]
        stacked = tf.stack([tf.convert_to_tensor(rate, tf.float32) for rate in rates])
        super()._backend_update_step(grads, trainable_variables, stacked)

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        if self._tables is None:
            clipped: list[Any] = super()._clip_gradients(grads)
            return clipped
        add_up = summed_in_place if self._fixed_shapes else summed
        parts = [
            add_up(slope) if isinstance(slope, tf.IndexedSlices) else (slope, 2 * tf.nn.l2_loss(slope))
            for slope in grads
        ]
        grads = [slope for slope, _ in parts]
        if self.global_clipnorm:
            norm = tf.sqrt(tf.add_n([square for _, square in parts]))
            grads, _ = tf.clip_by_global_norm(grads, self.global_clipnorm, use_norm=norm)
        return grads

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        """Done by `update_step`, at the rate of the variable's group."""


def _over_replicas(grads: Any) -> list[Any]:
    """The sums of all replicas' gradients; slices one replica's after the other's."""
    if replicas.count() == 1:
        return list(grads)
    dense = iter(replicas.total([slope for slope in grads if not isinstance(slope, tf.IndexedSlices)]))
    return [
        tf.IndexedSlices(replicas.gathered(slope.values), replicas.gathered(slope.indices), slope.dense_shape)
        if isinstance(slope, tf.IndexedSlices)
        else next(dense)
        for slope in grads
    ]


def _constant(value: float) -> Any:
    return keras.initializers.Constant(value) if value else "zeros"
