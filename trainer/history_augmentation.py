"""Changes histories in the training input, each step anew and yet the same after a restart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.augmentation_config import AugmentationConfig
from trainer.evaluation.baselines.base import interaction_matrix
from trainer.keras_compat import tf
from trainer.neighbours.cosine import cosine_neighbours

_SHRINKAGE = 10.0  # users; similarities that rest on few of them count less (Koren 2008)


class Histories(NamedTuple):
    """Some windows of events.

    Attributes:
        places: int64 [B, L] places in the flat event arrays, -1 = padding on the right.
        predicted: bool [B, L] events whose prediction counts.
        times: int64 [B, L] places of the events whose times are read; they stay in order where events do not.
    """

    places: Any
    predicted: Any
    times: Any


class HistoryAugmentation:
    """The operations of a configuration.

    Args:
        config: Its rate is above 0.
        similar: int32 [N, K] the items that may stand for each, -1 = none; see `similar_items`.
    """

    def __init__(self, config: AugmentationConfig, similar: npt.NDArray[np.int32]) -> None:
        self._config = config
        self._similar = tf.constant(similar)

    def __call__(self, histories: Histories, items: Any, seed: Any) -> tuple[Histories, Any]:
        """Changed histories, and what is read of them.

        Args:
            histories: Which.
            items: int32 [T] catalogue rows of all events, -1 = unknown.
            seed: int64 [2]; equal seeds give equal changes.

        Returns:
            The histories with their targets, and int32 [B, L] catalogue rows to read, -1 = unknown or padding.
        """
        draw = _Draws(seed)
        lengths = tf.reduce_sum(tf.cast(histories.places >= 0, tf.int32), axis=1)
        operation = self._drawn_operations(lengths, draw)
        histories = _cropped(histories, operation == _of("crop"), lengths, self._config.crop, draw)
        histories = _shuffled(histories, operation == _of("reorder"), lengths, self._config.reorder, draw)
        real = histories.places >= 0
        read = tf.where(real, tf.gather(items, tf.maximum(histories.places, 0)), -1)
        hidden = draw.uniform(tf.shape(read)) < self._config.mask
        read = tf.where(hidden & (operation == _of("mask"))[:, tf.newaxis], -1, read)
        replaced = draw.uniform(tf.shape(read)) < self._config.substitute
        others = self._substitutes(read, draw)
        replaced &= (operation == _of("substitute"))[:, tf.newaxis] & (others >= 0)
        return histories, tf.where(replaced, others, read)

    def _drawn_operations(self, lengths: Any, draw: _Draws) -> Any:
        """int32 [B] numbers of operations, -1 = the history stays as it is."""
        numbers = tf.constant([_of(name) for name in self._config.operations])
        drawn = tf.gather(numbers, draw.integers(lengths, tf.size(numbers)))
        changes = draw.uniform(tf.shape(lengths)) < self._config.rate
        if self._config.max_events is not None:
            changes &= lengths <= self._config.max_events
        return tf.where(changes, drawn, -1)

    def _substitutes(self, items: Any, draw: _Draws) -> Any:
        """int32 [B, L] a similar item for each, -1 where there is none."""
        row = tf.gather(self._similar, tf.maximum(items, 0))
        column = draw.integers(items, tf.shape(row)[-1])
        return tf.where(items >= 0, tf.gather(row, column, batch_dims=2), -1)


class _Draws:
    """Random numbers, other ones at each call."""

    def __init__(self, seed: Any) -> None:
        self._seed = tf.cast(seed, tf.int64)
        self._calls = 0

    def uniform(self, shape: Any) -> Any:
        """float32 in [0, 1)."""
        self._calls += 1
        return tf.random.stateless_uniform(
            shape, seed=self._seed + self._calls * tf.constant([0, 1_000_003], tf.int64)
        )

    def integers(self, like: Any, limit: Any) -> Any:
        """int32, shape of `like`, each below int32 `limit`, a scalar or of that shape; 0 where nothing is."""
        lots = tf.cast(self.uniform(tf.shape(like)) * tf.cast(limit, tf.float32), tf.int32)
        return tf.maximum(tf.minimum(lots, limit - 1), 0)


_OPERATIONS = ("crop", "mask", "reorder", "substitute")


def _of(operation: str) -> int:
    return _OPERATIONS.index(operation)


def _cropped(histories: Histories, rows: Any, lengths: Any, share: float, draw: _Draws) -> Histories:
    """A run of events of the named rows, moved to the beginning."""
    kept = _part(lengths, share)
    start = draw.integers(lengths, lengths - kept + 1)
    columns = tf.range(tf.shape(histories.places)[1])[tf.newaxis, :]
    shifted = tf.minimum(columns + start[:, tf.newaxis], tf.shape(histories.places)[1] - 1)
    stays = columns < kept[:, tf.newaxis]
    change = rows[:, tf.newaxis]

    def moved(values: Any, padding: Any) -> Any:
        return tf.where(change, tf.where(stays, tf.gather(values, shifted, batch_dims=1), padding), values)

    nothing = tf.constant(-1, histories.places.dtype)
    return Histories(
        moved(histories.places, nothing),
        moved(histories.predicted, False),
        moved(histories.times, nothing),
    )


def _shuffled(histories: Histories, rows: Any, lengths: Any, share: float, draw: _Draws) -> Histories:
    """A run of events of the named rows in random order; whether an event is predicted goes with it."""
    width = _part(lengths, share)
    start = draw.integers(lengths, lengths - width + 1)
    columns = tf.cast(tf.range(tf.shape(histories.places)[1]), tf.float32)[tf.newaxis, :]
    first, span = (tf.cast(values, tf.float32)[:, tf.newaxis] for values in (start, width))
    inside = rows[:, tf.newaxis] & (columns >= first) & (columns < first + span)
    lots = draw.uniform(tf.shape(histories.places))
    order = tf.argsort(tf.where(inside, first + lots * span, columns), axis=1, stable=True)
    places, predicted = (
        tf.gather(values, order, batch_dims=1) for values in (histories.places, histories.predicted)
    )
    return Histories(places, predicted, histories.times)


def _part(lengths: Any, share: float) -> Any:
    """int32 [B], at least 1."""
    return tf.maximum(tf.cast(tf.math.ceil(tf.cast(lengths, tf.float32) * share), tf.int32), 1)


def similar_items(
    items: npt.NDArray[np.int32], row_splits: npt.NDArray[np.int64], size: int, count: int
) -> npt.NDArray[np.int32]:
    """The items that most of the same users had, by cosine.

    Args:
        items: int32 [T] catalogue rows of the training events, -1 = unknown.
        row_splits: int64 [S + 1] where each user's events begin and end.
        size: N, items of the catalogue.
        count: K.

    Returns:
        int32 [N, K], the most similar first, again from the first where there are fewer than K; -1 where there is none.
    """
    similar = cosine_neighbours(interaction_matrix(items, row_splits, size), count, _SHRINKAGE)
    out = np.full((size, count), -1, np.int32)
    for row in np.flatnonzero(np.diff(similar.indptr)):
        part = slice(similar.indptr[row], similar.indptr[row + 1])
        best = similar.indices[part][np.argsort(-similar.data[part], kind="stable")]
        out[row] = np.resize(best, count)
    return out
