"""From a search to lists: one window of the best items, and under rules further ones while places stay free.

All of it is one loop, so that search and ranking stand in the graph once. A request without rules for its list leaves
it after the first turn, with the best items of the window as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trainer.keras_compat import tf
from trainer.rules import caps
from trainer.rules.exploration import uniforms
from trainer.rules.list_rules import ListRules
from trainer.rules.selection import Chosen, Start, Window, fill

Scored = tuple[Any, Any]
"""float32 [B, M] scores, best first, -inf from where no item is left; int32 [B, M] rows of the catalogue."""


class Taken(NamedTuple):
    """What the lists hold already, as a further search must know it.

    Attributes:
        rows: int32 [B, K] rows of the catalogue; -1 = free.
        capped: bool [B]: whether a category of the list may be full.
        full: Gives bool [B, number of categories]: those that are.
        variants: int64 [B, K] variant groups of which no other item may come; -1 = none.
    """

    rows: Any
    capped: Any
    full: Callable[[], Any]
    variants: Any


Search = Callable[[Taken, Any, Any], tuple[Scored, Any]]
"""The next best items: takes what was taken, whether it is the first search (bool scalar), and float32 [B, 1] that it
returned itself the time before (zeros at first)."""


class CatalogueRules:
    """Lists over a catalogue.

    Args:
        categories: int32 [N, W] categories of each item; -1 = padding.
        category_count: C, int32 scalar.
        variants: int64 [N] variant groups; -1 = alone.
        vectors: Gives float32 [..., D] item vectors of int32 [...] rows.
    """

    def __init__(
        self, categories: Any, category_count: Any, variants: Any, vectors: Callable[[Any], Any]
    ) -> None:
        self._categories = categories
        self._category_count = category_count
        self._variants = variants
        self._vectors = vectors

    def lists(self, search: Search, rules: ListRules, k: int) -> Chosen:
        """Lists of k places, as full as the rules allow.

        Args:
            search: Finds windows; called again only if a list is not full and the window before was.
            rules: What each row asks for.
            k: Length of the lists.
        """
        nothing = Chosen.nothing(tf.shape(rules.seed)[0], k)
        asked = rules.asked
        noise = tf.cond(
            tf.reduce_any(rules.exploration > 0),
            lambda: uniforms(rules.seed, k),
            lambda: tf.zeros_like(nothing.propensity),
        )

        def proceed(chosen: Chosen, going: Any, first: Any, carried: Any) -> Any:
            del going
            (scores, rows), carried = search(self._taken(chosen, rules), first, carried)
            filled: Chosen = tf.cond(
                asked,
                lambda: self._filled(chosen, scores, rows, rules, noise),
                lambda: _best(scores, rows, k),
            )
            more = tf.math.is_finite(scores[:, -1]) & (filled.count > chosen.count) & (filled.count < k)
            return filled, tf.reduce_any(more), tf.constant(False), carried

        start = (nothing, tf.constant(True), tf.constant(True), tf.zeros_like(nothing.scores[:, :1]))
        complete: Chosen = tf.while_loop(
            lambda chosen, going, first, carried: going, proceed, start, parallel_iterations=1
        )[0]
        return complete

    def _taken(self, chosen: Chosen, rules: ListRules) -> Taken:
        groups = tf.gather(self._variants, tf.maximum(chosen.rows, 0))
        mine = tf.expand_dims(rules.one_per_variant, 1) & (chosen.rows >= 0)
        return Taken(
            chosen.rows,
            (rules.max_per_category > 0) & (chosen.count > 0),
            lambda: caps.is_full(self._counts(chosen.rows), rules.max_per_category),
            tf.where(mine, groups, tf.constant(-1, tf.int64)),
        )

    def _filled(self, chosen: Chosen, scores: Any, rows: Any, rules: ListRules, noise: Any) -> Chosen:
        width = tf.shape(rows)[1]
        vectors = self._directions(tf.concat([rows, chosen.rows], axis=1), rules)
        window = Window(
            scores,
            rows,
            self._capped_categories(rows, rules),
            tf.where(
                tf.expand_dims(rules.one_per_variant, 1),
                tf.gather(self._variants, rows),
                tf.constant(-1, tf.int64),
            ),
            vectors[:, :width],
        )
        return fill(chosen, window, self._start(chosen, window, vectors[:, width:]), rules, noise)

    def _start(self, chosen: Chosen, window: Window, held: Any) -> Start:
        """What the lists hold, seen from a window; `held` are float32 [B, K, D] directions of their items."""
        counts = tf.pad(self._counts(chosen.rows), [[0, 0], [0, 1]])
        places = tf.where(window.categories >= 0, window.categories, self._category_count)
        cosines = tf.matmul(window.vectors, held, transpose_b=True)
        cosines = tf.where(tf.expand_dims(chosen.rows >= 0, 1), cosines, -2.0)
        return Start(tf.gather(counts, places, batch_dims=1), tf.reduce_max(cosines, axis=2))

    def _counts(self, rows: Any) -> Any:
        """int32 [B, C] how often each category occurs among int32 [B, K] rows; -1 = none."""
        return caps.category_counts(self._categories_of(rows), self._category_count)

    def _categories_of(self, rows: Any) -> Any:
        """int32 [B, M, W] of int32 [B, M] rows, all -1 for row -1."""
        found = tf.gather(self._categories, tf.maximum(rows, 0))
        return tf.where(tf.expand_dims(rows >= 0, 2), found, -1)

    def _capped_categories(self, rows: Any, rules: ListRules) -> Any:
        """The same without columns if no row has a cap, so that nobody counts them."""
        found = self._categories_of(rows)
        width = tf.where(tf.reduce_any(rules.max_per_category > 0), tf.shape(found)[2], 0)
        return found[:, :, :width]

    def _directions(self, rows: Any, rules: ListRules) -> Any:
        """float32 [B, M, D] item vectors of length 1; without columns if no row asks for diversity."""
        return tf.cond(
            tf.reduce_any(rules.diversity > 0),
            lambda: tf.math.l2_normalize(self._vectors(rows), axis=2),
            lambda: tf.zeros_like(rows, tf.float32)[:, :, tf.newaxis][:, :, :0],
        )


def _best(scores: Any, rows: Any, k: int) -> Chosen:
    """The k best items of a window."""
    scores, rows = tf.ensure_shape(scores[:, :k], [None, k]), tf.ensure_shape(rows[:, :k], [None, k])
    there = tf.math.is_finite(scores)
    count = tf.reduce_sum(tf.cast(there, tf.int32), axis=1)
    return Chosen(tf.where(there, rows, -1), scores, tf.cast(there, tf.float32), count)
