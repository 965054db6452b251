"""Which items a row of a request may get; masks over the whole catalogue are built only where a row needs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.keras_compat import tf
from trainer.places import in_rows


@dataclass(frozen=True)
class Filter:
    """A rule that says of each item whether a row may get it.

    Attributes:
        active: bool [B]; rows without the rule get every item.
        mask: Builds bool [B, N], True where an item may be shown. What it says of rows that are not active does not
            matter.
        allows: The same of int32 [B, M] rows of the catalogue (-1 = padding), bool [B, M], in time of M.
    """

    active: Any
    mask: Callable[[], Any]
    allows: Callable[[Any], Any]


@dataclass(frozen=True)
class Permission:
    """What a search may return.

    Attributes:
        excluded: int32 [B, E] rows of the catalogue that must not be returned; -1 = padding. Any length.
        filters: Further rules; most requests have none that is active.
    """

    excluded: Any
    filters: tuple[Filter, ...] = ()

    @property
    def restricted(self) -> Any:
        """Bool [B]: rows with an active filter; the others may get all items but the excluded ones."""
        if not self.filters:
            return tf.zeros(tf.shape(self.excluded)[:1], tf.bool)
        return tf.reduce_any(tf.stack([each.active for each in self.filters]), axis=0)

    def apply(self, scores: Any) -> Any:
        """float32 [B, N] scores with -inf at every item that must not be returned.

        Masks of N columns are built inside `tf.cond`, so only where some row of the batch is restricted.
        """
        for each in self.filters:
            scores = tf.cond(
                tf.reduce_any(each.active),
                lambda each=each, scores=scores: tf.where(
                    each.mask() | ~tf.expand_dims(each.active, 1), scores, np.float32(-np.inf)
                ),
                lambda scores=scores: scores,
            )
        return _without(scores, self.excluded)

    def allows(self, rows: Any) -> Any:
        """Bool [B, M]: whether int32 [B, M] rows of the catalogue may be returned; False for -1."""
        allowed = (rows >= 0) & ~contains(self.excluded, rows)
        for each in self.filters:
            allowed = tf.cond(
                tf.reduce_any(each.active),
                lambda each=each, allowed=allowed: (
                    allowed & (each.allows(rows) | ~tf.expand_dims(each.active, 1))
                ),
                lambda allowed=allowed: allowed,
            )
        return allowed

    def unfiltered(self) -> Permission:
        """The exclusions alone: all that there is for rows that are not restricted."""
        return Permission(self.excluded)

    def at(self, places: Any) -> Permission:
        """That of some rows of the batch: int64 [b] places in it."""
        return Permission(tf.gather(self.excluded, places), tuple(_at(each, places) for each in self.filters))


def _at(rule: Filter, places: Any) -> Filter:
    def allows(rows: Any) -> Any:
        shape = tf.stack([tf.shape(rule.active)[0], tf.shape(rows)[1]])
        spread = tf.scatter_nd(places[:, tf.newaxis], rows, tf.cast(shape, places.dtype))
        return tf.gather(rule.allows(spread), places)

    return Filter(tf.gather(rule.active, places), lambda: tf.gather(rule.mask(), places), allows)


def contains(sets: Any, values: Any) -> Any:
    """Whether each value is in its row's set: bool [B, M] of [B, E] sets and [B, M] values, int32 or int64, from -1."""
    most = sets.dtype.max
    padded = tf.pad(sets, [[0, 0], [0, 1]], constant_values=-most)
    falling = tf.math.top_k(padded, k=tf.shape(padded)[1]).values
    # Negated, so that they rise: what is searched is sorted that way.
    place = tf.raw_ops.LowerBound(sorted_inputs=-falling, values=-values)
    last = tf.shape(falling)[1] - 1
    return tf.gather(falling, tf.minimum(place, last), batch_dims=1) == values


def _without(scores: Any, rows: Any) -> Any:
    """float32 [B, N] scores with -inf at int32 [B, E] rows; -1 is passed over."""
    places = tf.where(rows >= 0, rows, tf.shape(scores)[1])
    gone = tf.cast(tf.zeros_like(rows), tf.float32) - np.float32(np.inf)
    padded = tf.pad(scores, [[0, 0], [0, 1]])
    return tf.tensor_scatter_nd_update(padded, in_rows(places), gone)[:, :-1]
