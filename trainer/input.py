"""The training input: shuffled batches of windows, gathered from arrays in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.config import TrainConfig
from trainer.keras_compat import tf
from trainer.preparation import Preparation, event_rows, user_inputs
from trainer.sequences import Sequences
from trainer.windows import Windows, cut_windows


def training_windows(sequences: Sequences, config: TrainConfig) -> Windows:
    """Windows of the training split, as long as the history that the model reads."""
    return cut_windows(sequences.row_splits, sequences.target_start, config.model.history.max_length)


def steps_per_epoch(windows: Windows, config: TrainConfig) -> int:
    """Steps in which every window is seen once."""
    return -(-len(windows) // config.batch_size)


def training_batches(
    preparation: Preparation, sequences: Sequences, windows: Windows, config: TrainConfig, first_epoch: int
) -> Any:
    """Batches of all epochs from `first_epoch` on.

    The order of an epoch depends on the seed and the number of the epoch alone, so a resumed run sees what an
    uninterrupted one would have seen.

    Returns:
        A tf.data.Dataset of what `TwoTowerModel.train_step` takes.
    """
    columns = _columns(preparation, sequences, config)
    users = user_inputs(preparation, sequences) if config.model.user_features else {}
    positions = tf.constant(windows.positions)
    predicted = tf.constant(windows.predicted & (sequences.items[np.maximum(windows.positions, 0)] >= 0))
    owners = tf.constant(windows.sequence)

    def batch(rows: Any) -> dict[str, Any]:
        places = tf.gather(positions, rows)
        out = {"predicted": tf.gather(predicted, rows)}
        for name, (values, padding) in columns.items():
            out[name] = tf.where(places >= 0, tf.gather(values, tf.maximum(places, 0)), padding)
        if users:
            out["user"] = {name: tf.gather(value, tf.gather(owners, rows)) for name, value in users.items()}
        return out

    def epoch(number: Any) -> Any:
        seed = tf.stack([tf.constant(config.seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(windows), dtype=tf.int64), seed=seed)
        return tf.data.Dataset.from_tensor_slices(order).batch(config.batch_size)

    epochs = tf.data.Dataset.range(first_epoch, config.epochs)
    return epochs.flat_map(epoch).map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)


def _columns(
    preparation: Preparation, sequences: Sequences, config: TrainConfig
) -> dict[str, tuple[Any, Any]]:
    """Flat event columns with the value that stands for padding."""
    columns = {
        "items": (tf.constant(sequences.items), tf.constant(-1, tf.int32)),
        "values": (tf.constant(sequences.values), tf.constant(float("nan"))),
    }
    if config.model.history.time_gaps:
        columns["timestamps"] = (tf.constant(sequences.timestamps), tf.constant(0, tf.int64))
    if config.model.history.event_types:
        columns["events"] = (tf.constant(event_rows(preparation, sequences.events)), tf.constant(0, tf.int32))
    return columns
