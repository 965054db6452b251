"""Puts a list together, place after place, from windows of the best items that are left.

Without exploration and diversity this is a walk down the order of the scores that passes over what a cap forbids.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trainer.keras_compat import tf
from trainer.rules import caps
from trainer.rules.diversity import marginal_relevance, spread
from trainer.rules.exploration import draw
from trainer.rules.list_rules import ListRules


class Chosen(NamedTuple):
    """Lists that may not be full yet.

    Attributes:
        rows: int32 [B, K] rows of the catalogue; -1 = free.
        scores: float32 [B, K]; -inf = free.
        propensity: float32 [B, K] the probability with which the item got its place; 0 = free.
        count: int32 [B] places taken.
    """

    rows: Any
    scores: Any
    propensity: Any
    count: Any

    @classmethod
    def nothing(cls, batch: Any, k: int) -> Chosen:
        """Empty lists of k places."""
        free = tf.zeros([batch, k])
        return cls(tf.cast(free, tf.int32) - 1, free - np.float32(np.inf), free, tf.zeros([batch], tf.int32))


class Window(NamedTuple):
    """The items that compete for the next places, best first; what no row asks about has no columns.

    Attributes:
        scores: float32 [B, M]; -inf = no item.
        rows: int32 [B, M] rows of the catalogue.
        categories: int32 [B, M, W]; -1 = padding.
        variants: int64 [B, M] variant groups; -1 = alone, or the row does not ask.
        vectors: float32 [B, M, D] of length 1.
    """

    scores: Any
    rows: Any
    categories: Any
    variants: Any
    vectors: Any


class Start(NamedTuple):
    """What the lists hold already, seen from the items of a window.

    Attributes:
        hits: int32 [B, M, W] how often each category of an item occurs in the list.
        closest: float32 [B, M] highest cosine with an item of the list; anything below -1 while it is empty.
    """

    hits: Any
    closest: Any


def fill(chosen: Chosen, window: Window, start: Start, rules: ListRules, noise: Any) -> Chosen:
    """Gives free places to items of a window until all are taken or no item of it fits any more.

    Args:
        chosen: The lists so far; none of their items is in the window.
        window: Who competes.
        start: What the lists hold, seen from the window.
        rules: What each row asks for.
        noise: float32 [B, K] in [0, 1), the draw for each place.
    """
    k = chosen.rows.shape[1]
    scale = spread(window.scores)

    def place(chosen: Chosen, free: Any, start: Start, going: Any) -> Any:
        del going
        full = caps.is_full(tf.reduce_max(start.hits, axis=2), rules.max_per_category)
        fitting = free & ~full & tf.expand_dims(chosen.count < k, 1)
        closest = tf.where(tf.expand_dims(chosen.count > 0, 1), start.closest, 0.0)
        worth = marginal_relevance(window.scores, closest, rules.diversity, scale)
        uniform = tf.gather(noise, tf.minimum(chosen.count, k - 1), batch_dims=1)
        column, probability = draw(tf.where(fitting, worth, np.float32(-np.inf)), rules.exploration, uniform)
        picks = tf.reduce_any(fitting, axis=1)

        def picked(values: Any) -> Any:
            return tf.gather(values, tf.expand_dims(column, 1), batch_dims=1)

        here = (tf.range(k) == tf.expand_dims(chosen.count, 1)) & tf.expand_dims(picks, 1)
        chosen = Chosen(
            tf.where(here, picked(window.rows), chosen.rows),
            tf.where(here, picked(window.scores), chosen.scores),
            tf.where(here, tf.expand_dims(probability, 1), chosen.propensity),
            chosen.count + tf.cast(picks, tf.int32),
        )
        # Rows that pick nothing have no item left that fits, and never will: what happens to their state is no matter.
        free &= window.rows != picked(window.rows)
        free &= ~caps.same_variant(window.variants, picked(window.variants))
        start = Start(
            start.hits + caps.category_hits(window.categories, picked(window.categories)),
            tf.maximum(
                start.closest, tf.matmul(window.vectors, picked(window.vectors), transpose_b=True)[:, :, 0]
            ),
        )
        return chosen, free, start, tf.reduce_any(picks)

    state = (chosen, tf.math.is_finite(window.scores), start, tf.constant(True))
    filled: Chosen = tf.while_loop(
        lambda chosen, free, start, going: going, place, state, parallel_iterations=1
    )[0]
    return filled
