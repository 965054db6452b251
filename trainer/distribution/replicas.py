"""What the replicas of a step know of each other; with one replica everything is as it is."""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf


def count() -> int:
    """How many replicas take the step together."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def number() -> Any:
    """Which of them this one is, from 0; an int or an int32 scalar."""
    context = tf.distribute.get_replica_context()
    return 0 if count() == 1 or context is None else context.replica_id_in_sync_group


def gathered(rows: Any) -> Any:
    """The rows of all replicas, one replica's after the other's: [B, ...] to [replicas * B, ...]."""
    if count() == 1:
        return rows
    context = tf.distribute.get_replica_context()
    if rows.dtype == tf.bool:
        return tf.cast(gathered(tf.cast(rows, tf.int32)), tf.bool)
    return context.all_gather(_placed(rows), axis=0)


def total(value: Any) -> Any:
    """The sum over replicas of a tensor of one shape, or of each of a list of them."""
    if count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, _placed(value))


def _placed(value: Any) -> Any:
    """On the device of the replica; where a process has one alone, TensorFlow reads from a tensor where to reduce."""
    devices = tf.distribute.get_strategy().extended.worker_devices
    if len(devices) > 1:
        return value
    with tf.device(devices[0]):
        return tf.nest.map_structure(tf.identity, value)
