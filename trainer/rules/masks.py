"""Filters by item, by category and by variant.

What a filter needs over the whole catalogue is made inside of it, so that it costs nothing where no row asks for it.
"""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf
from trainer.places import in_rows
from trainer.rules.lists import Taken
from trainer.rules.permission import Filter, contains

_ALLOWED, _BLOCKED = 1, 2  # of what an item's categories say the largest counts: what is blocked stays so


def allow_items(rows: Any, given: Any, catalogue_size: Any) -> Filter:
    """Only these items.

    Args:
        rows: int32 [B, A] rows of the catalogue; -1 = unknown or padding.
        given: bool [B]: whether the row has the rule; with it and no known item nothing may be shown.
        catalogue_size: N, int32 scalar.
    """

    def mask() -> Any:
        table = tf.zeros([tf.shape(rows)[0], catalogue_size + 1], tf.bool)
        places = in_rows(tf.where(rows >= 0, rows, catalogue_size))
        return tf.tensor_scatter_nd_update(table, places, tf.ones_like(rows, tf.bool))[:, :-1]

    return Filter(given, mask, lambda wanted: contains(rows, wanted) & (wanted >= 0))


def by_category(
    categories: Any, count: Any, allow: Any, allow_given: Any, block: Any, taken: Taken
) -> Filter:
    """Only items with an allowed category, if there are such, and none with one that is blocked or full.

    Args:
        categories: int32 [N, W] categories of each item; -1 = padding.
        count: C, how many categories there are, int32 scalar.
        allow: int32 [B, A] categories; -1 = unknown or padding.
        allow_given: bool [B]: whether only allowed ones may be shown; with it and no known one nothing may be.
        block: int32 [B, C] categories; -1 = unknown or padding.
        taken: Whose full categories no further item may have.
    """

    def verdicts() -> Any:
        """uint8 [B, C + 1]; the last column is for padding."""
        named = tf.concat([allow, block], axis=1)
        kinds = tf.concat(
            [tf.cast(allow >= 0, tf.uint8) * _ALLOWED, tf.cast(block >= 0, tf.uint8) * _BLOCKED], axis=1
        )
        table = tf.pad(tf.cast(taken.full(), tf.uint8) * _BLOCKED, [[0, 0], [0, 1]])
        return tf.tensor_scatter_nd_max(table, in_rows(columns(named)), kinds)

    def permitted(found: Any) -> Any:
        return (found < _BLOCKED) & ((found == _ALLOWED) | ~tf.expand_dims(allow_given, 1))

    def columns(of: Any) -> Any:
        return tf.where(of >= 0, of, count)

    def mask() -> Any:
        # One category column at a time: [B, N, W] would need W times the memory.
        table, places = verdicts(), tf.transpose(columns(categories))
        start = tf.gather(table, tf.zeros_like(places[0]) + count, axis=1)
        return permitted(
            tf.foldl(lambda found, column: tf.maximum(found, tf.gather(table, column, axis=1)), places, start)
        )

    def allows(rows: Any) -> Any:
        places = columns(tf.gather(categories, tf.maximum(rows, 0)))
        return permitted(tf.reduce_max(tf.gather(verdicts(), places, batch_dims=1), axis=2))

    return Filter(allow_given | tf.reduce_any(block >= 0, axis=1) | taken.capped, mask, allows)


def block_variants(variants: Any, taken: Taken) -> Filter:
    """No item of a variant group that was taken; `variants` are int64 [N] groups of each item, -1 = alone."""

    def apart(groups: Any) -> Any:
        return (groups < 0) | ~contains(taken.variants, groups)

    def mask() -> Any:
        return apart(tf.zeros_like(taken.variants[:, :1]) + variants)

    return Filter(
        tf.reduce_any(taken.variants >= 0, axis=1),
        mask,
        lambda rows: apart(tf.gather(variants, tf.maximum(rows, 0))),
    )
