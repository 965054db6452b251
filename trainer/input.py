"""The training input: shuffled batches of windows, gathered from arrays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config import TrainConfig
from trainer.history_augmentation import Histories, HistoryAugmentation, similar_items
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


@dataclass(frozen=True)
class Part:
    """Which rows of each batch a process gives to whom.

    Attributes:
        padded: Whether the last batch of an epoch is filled up with windows without events, so that all have one shape.
        worker: Number of the process.
        workers: How many there are; each has an equal part of the rows of every batch.
        replicas: Among how many devices of its own a process divides them; a batch comes as so many elements.
    """

    padded: bool = False
    worker: int = 0
    workers: int = 1
    replicas: int = 1


def training_batches(
    preparation: Preparation,
    sequences: Sequences,
    windows: Windows,
    config: TrainConfig,
    first_epoch: int,
    part: Part = Part(),
) -> Any:
    """Batches of all epochs from `first_epoch` on.

    The order of an epoch and what changes in it depend on the seed and the number of the epoch alone, so a resumed run
    sees what an uninterrupted one would have seen, and all processes see the same.

    Args:
        preparation: Features of users, numbers of event types.
        sequences: The training split.
        windows: Cut from it.
        config: Batch size, seed, what the model reads.
        first_epoch: Number of the first epoch.
        part: What of each batch.

    Returns:
        A tf.data.Dataset of what `TwoTowerModel.train_step` takes.
    """
    augment = _augmentation(preparation, sequences, config)
    columns = _columns(preparation, sequences, config)
    users = user_inputs(preparation, sequences) if config.model.user_features else {}
    positions = tf.constant(windows.positions)
    predicted = tf.constant(windows.predicted & (sequences.items[np.maximum(windows.positions, 0)] >= 0))
    owners = tf.constant(windows.sequence)

    def batch(rows: Any, seed: Any) -> dict[str, Any]:
        real, rows = rows >= 0, tf.maximum(rows, 0)
        places = tf.where(real[:, tf.newaxis], tf.gather(positions, rows), -1)
        histories = Histories(places, tf.gather(predicted, rows) & real[:, tf.newaxis], places)
        out = {}
        if augment is not None:
            histories, out["read"] = augment(histories, columns["items"][0], seed)
        out["predicted"] = histories.predicted
        for name, (values, padding) in columns.items():
            places = histories.times if name == "timestamps" else histories.places
            out[name] = tf.where(places >= 0, tf.gather(values, tf.maximum(places, 0)), padding)
        if users:
            out["user"] = {name: tf.gather(value, tf.gather(owners, rows)) for name, value in users.items()}
        return out

    steps, size = steps_per_epoch(windows, config), config.batch_size
    rows_of_one = size // (part.workers * part.replicas)

    def epoch(number: Any) -> Any:
        seed = tf.stack([tf.constant(config.seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(windows), dtype=tf.int64), seed=seed)
        if part.padded:
            order = tf.pad(order, [[0, steps * size - len(windows)]], constant_values=-1)

        def element(index: Any) -> dict[str, Any]:
            first = part.worker * part.replicas + index % part.replicas
            start = index // part.replicas * size + first * rows_of_one
            rows = order[start : start + rows_of_one]
            draws = tf.stack([seed[0], (number * steps + index // part.replicas) * size + first])
            return batch(tf.ensure_shape(rows, [rows_of_one]) if part.padded else rows, draws)

        return tf.data.Dataset.range(steps * part.replicas).map(
            element, num_parallel_calls=2, deterministic=True
        )

    return tf.data.Dataset.range(first_epoch, config.epochs).flat_map(epoch).prefetch(4)


def _augmentation(
    preparation: Preparation, sequences: Sequences, config: TrainConfig
) -> HistoryAugmentation | None:
    settings = config.augmentation
    if not settings.rate:
        return None
    size = len(preparation.catalogue)
    if "substitute" not in settings.operations:
        return HistoryAugmentation(settings, np.full((size, 1), -1, np.int32))
    return HistoryAugmentation(
        settings, similar_items(sequences.items, sequences.row_splits, size, settings.similar)
    )


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
