"""Updates of an embedding table that touch only the rows that a step has read.

Keras 3 updates every row of every table in every step, also where the gradient is `tf.IndexedSlices`. Here the rows are
gathered, changed and scattered on the variable itself. Reading the table as a whole elsewhere in the step would
make TensorFlow copy it, so tables are only read by `tf.gather` on the variable (`trainer/embedding_table.py`).
"""

from __future__ import annotations

from typing import Any, Protocol

from trainer.keras_compat import tf


class RowRule(Protocol):
    """What happens to the rows of a table.

    Attributes:
        slots: Name and initial value of each array, shaped like the table, that the rule remembers.
    """

    slots: dict[str, float]

    def step(
        self, table: Any, slots: list[Any], gradient: Any, *, rate: Any, decay: float, steps: Any
    ) -> None:
        """Changes rows in place.

        Args:
            table: tf.Variable [N, D].
            slots: One tf.Variable [N, D] for each of `slots`.
            gradient: tf.IndexedSlices of the table; a row that occurs repeatedly has the same slice each time.
            rate: float scalar, the learning rate.
            decay: Decoupled weight decay; the rows lose `rate * decay` of themselves.
            steps: int64 scalar, steps done before this one.
        """


class Adagrad:
    """Adagrad (Duchi 2011). Rows without a gradient would not change anyway, so it is the dense update exactly.

    Args:
        start: Of the accumulators, as in TensorFlow and Keras.
        epsilon: Added under their roots, as in Keras.
    """

    def __init__(self, start: float = 0.1, epsilon: float = 1e-7) -> None:
        self.slots = {"accumulator": start}
        self._epsilon = epsilon

    def step(
        self, table: Any, slots: list[Any], gradient: Any, *, rate: Any, decay: float, steps: Any
    ) -> None:
        """See `RowRule.step`."""
        rows, rate = gradient.indices, tf.cast(rate, table.dtype)
        squares = _gather(slots[0], rows) + tf.square(gradient.values)
        _put(slots[0], rows, squares)
        change = rate * gradient.values * tf.math.rsqrt(squares + self._epsilon)
        _put(table, rows, _gather(table, rows) * (1 - decay * rate) - change)


class LazyAdam:
    """Adam (Kingma and Ba 2015) on the rows of the step alone, as TensorFlow Addons' LazyAdam.

    Not the dense update: a row that a step does not read keeps its moments as they are, where Adam would let them
    fade, and does not move, where Adam would move it on by its momentum. The correction of the first steps counts the
    steps of the training, not those of the row. Where every step reads every row it is Adam.

    Args:
        beta_1: Share of the mean gradient that a step keeps.
        beta_2: Share of the mean squared gradient that a step keeps.
        epsilon: Added to its root.
    """

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> None:
        self.slots = {"momentum": 0.0, "velocity": 0.0}
        self._betas, self._epsilon = (beta_1, beta_2), epsilon

    def step(
        self, table: Any, slots: list[Any], gradient: Any, *, rate: Any, decay: float, steps: Any
    ) -> None:
        """See `RowRule.step`."""
        rows, values, rate = gradient.indices, gradient.values, tf.cast(rate, table.dtype)
        done = tf.cast(steps + 1, table.dtype)
        first, second = self._betas
        corrected = rate * tf.sqrt(1 - tf.pow(second, done)) / (1 - tf.pow(first, done))
        mean, square = (_gather(slot, rows) for slot in slots)
        mean += (values - mean) * (1 - first)
        square += (tf.square(values) - square) * (1 - second)
        for slot, value in zip(slots, (mean, square), strict=True):
            _put(slot, rows, value)
        change = corrected * mean / (tf.sqrt(square) + self._epsilon)
        _put(table, rows, _gather(table, rows) * (1 - decay * rate) - change)


def summed(gradient: Any) -> tuple[Any, Any]:
    """The same tf.IndexedSlices with each row once, the slices of a row added up; and the square of its norm."""
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape), tf.reduce_sum(tf.square(values))


def summed_in_place(gradient: Any) -> tuple[Any, Any]:
    """As `summed` for XLA, which has no `tf.unique`: as many slices as before, those of a row all their sum."""
    order = tf.argsort(gradient.indices)
    rows, values = tf.gather(gradient.indices, order), tf.gather(gradient.values, order)
    places = tf.cumsum(tf.cast(tf.concat([[False], rows[1:] != rows[:-1]], axis=0), tf.int32))
    sums = tf.gather(tf.math.unsorted_segment_sum(values, places, tf.size(rows)), places)
    # The sum over a row's slices of slice * sum is the square of the sum.
    return tf.IndexedSlices(sums, rows, gradient.dense_shape), tf.reduce_sum(values * sums)


def _gather(table: Any, rows: Any) -> Any:
    return tf.raw_ops.ResourceGather(resource=table.handle, indices=rows, dtype=table.dtype)


def _put(table: Any, rows: Any, values: Any) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=table.handle, indices=rows, updates=values)
