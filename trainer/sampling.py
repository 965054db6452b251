"""Which events are predicted in a step, and against which items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.keras_compat import keras, tf


@dataclass(frozen=True)
class Candidates:
    """The items that take part in a step; each is encoded once, however often it occurs.

    Attributes:
        ids: int32 [M] distinct catalogue rows, sorted; in a small catalogue all that may take part.
        negatives: int32 [U] catalogue rows drawn as negatives beside the batch's own targets.
        uniform_draws: How often any one item is expected among those of `negatives` that were drawn uniformly.
        popular_draws: How many of `negatives` were drawn in proportion to their training events.
        own_draws: How many items the batch brought.
        complete: Whether `ids` is the whole catalogue, or all of it that may take part, from row 0 on.
        once: bool [M] the first of equal `ids`; None where they are distinct. The rest fills up a fixed shape.
    """

    ids: Any
    negatives: Any
    uniform_draws: float
    popular_draws: float
    own_draws: Any
    complete: bool
    once: Any = None

    def rows_of(self, items: Any) -> Any:
        """int32, shape of `items`: where each catalogue row stands in `ids`; -1 stays -1."""
        if self.complete:
            return items
        flat = tf.reshape(items, [-1])
        rows = tf.reshape(tf.searchsorted(self.ids, flat), tf.shape(items))
        return tf.where(items >= 0, rows, -1)

    def expected_draws(self, share: Any) -> Any:
        """float32, shape of `share`: how often items with this share of the events are expected in `negatives`."""
        return self.popular_draws * share + self.uniform_draws

    def inclusion(self, share: Any) -> Any:
        """float32, shape of `share`: the probability that items with this share of the events are among `ids`.

        The batch's own items count as if they were drawn in proportion to their training events.
        """
        if self.complete:
            return tf.ones_like(share)
        absent = (self.own_draws + self.popular_draws) * tf.math.log1p(-share) - self.uniform_draws
        return -tf.math.expm1(absent)


def candidate_set(
    items: Any,
    share: Any,
    seeds: Any,
    *,
    uniform: int,
    popular: int = 0,
    fixed: bool = False,
    size: int | None = None,
    also: Any = None,
) -> Candidates:
    """The batch's own items and drawn ones, or the whole catalogue if it is no larger than `uniform`.

    Args:
        items: int32 [B, L] catalogue rows of the batch, -1 = padding.
        share: float32 [N] share of each item in the training events.
        seeds: A keras SeedGenerator.
        uniform: How many items to draw with equal probability.
        popular: How many to draw in proportion to `share`.
        fixed: Give shapes that do not depend on the data, as XLA needs them: an item may stand in `ids` repeatedly.
        also: int32 [B, L] further rows of the batch that must be among `ids`, -1 = none; not counted as its own items.
        size: Only the first so many rows of the catalogue take part, those of `items` among them; None = all N.
    """
    size = int(share.shape[0]) if size is None else size
    drawn = [popular_items(share, popular, seeds)] if popular else []
    if size <= uniform:
        everything = tf.range(size, dtype=tf.int32)
        negatives = tf.concat([everything, *drawn], axis=0)
        return Candidates(everything, negatives, 1.0, popular, own_draws=0.0, complete=True)
    drawn = [keras.random.randint((uniform,), 0, size, dtype="int32", seed=seeds), *drawn]
    present = items if also is None else tf.concat([items, also], axis=1)
    ids, once = _fixed_set(present, drawn, size) if fixed else (_distinct(present, drawn), None)
    count = tf.cast(tf.math.count_nonzero(items >= 0), tf.float32)
    return Candidates(
        ids, tf.concat(drawn, axis=0), uniform / size, popular, count, complete=False, once=once
    )


def _distinct(items: Any, drawn: list[Any]) -> Any:
    own = tf.boolean_mask(items, items >= 0)
    return tf.sort(tf.unique(tf.concat([own, *drawn], axis=0))[0])


def _fixed_set(items: Any, drawn: list[Any], size: int) -> tuple[Any, Any]:
    """All of them sorted, padding at the end as if it were the last item, and which are the first of their kind."""
    own = tf.reshape(tf.where(items >= 0, items, size), [-1])
    keys = tf.sort(tf.concat([own, *drawn], axis=0))
    once = tf.concat([[True], keys[1:] != keys[:-1]], axis=0) & (keys < size)
    return tf.minimum(keys, size - 1), once


def popular_items(share: Any, count: int, seeds: Any) -> Any:
    """int32 [count] catalogue rows, drawn in proportion to float32 [N] `share`, a constant.

    Its sums are made when the step is traced, so a step searches N of them `count` times and never reads all.
    """
    with tf.init_scope():
        sums = tf.cumsum(tf.cast(share, tf.float64))
    lots = keras.random.uniform((count,), dtype="float64", seed=seeds) * sums[-1]
    return tf.minimum(tf.searchsorted(sums, lots, side="right"), tf.size(sums) - 1)


def choose_queries(predicted: Any, limit: int, seeds: Any) -> Any:
    """At most `limit` of the events to predict, at random.

    Args:
        predicted: bool [B, L].
        limit: Largest Q.
        seeds: A keras SeedGenerator.

    Returns:
        int32 [Q, 2] (row, column) pairs, in random order.
    """
    places = tf.cast(tf.where(predicted), tf.int32)
    order = tf.argsort(keras.random.uniform((tf.shape(places)[0],), seed=seeds))
    return tf.gather(places, order[:limit])


def choose_fixed(predicted: Any, limit: int, seeds: Any) -> tuple[Any, Any]:
    """As `choose_queries`, always min(limit, B * L) of them; and bool [Q], which are events to predict."""
    length = tf.shape(predicted)[1]
    flat = tf.reshape(predicted, [-1])
    lots = keras.random.uniform(tf.shape(flat), seed=seeds) + tf.where(flat, 0.0, 1.0)
    order = tf.argsort(lots)[:limit]
    return tf.stack([order // length, order % length], axis=1), tf.gather(flat, order)


def hard_negatives(
    scores: Any, targets: Any, forbidden: Any, *, candidates: int, draw: int, seeds: Any
) -> tuple[Any, Any]:
    """Random items among those that retrieval puts on top, as the ranking head will meet them.

    Args:
        scores: float32 [Q, M] retrieval scores.
        targets: int32 [Q] columns of the targets, never drawn.
        forbidden: int32 [Q, F] further columns never to draw (the history); -1 = none.
        candidates: How many of the best to draw from.
        draw: How many to draw, without repetition where the candidates suffice.
        seeds: A keras SeedGenerator.

    Returns:
        int32 [Q, min(draw, candidates, M)] columns, -1 where too few are allowed; and bool [Q], whether the target
        itself is among the best `candidates`. Where it is not, the head will never see it, and learning to put it
        above better scored items would only teach the head to turn retrieval's order around.
    """
    width = tf.shape(scores)[1]
    unwanted = tf.concat([targets[:, tf.newaxis], forbidden], axis=1)
    rows = tf.repeat(tf.range(tf.shape(scores)[0])[:, tf.newaxis], tf.shape(unwanted)[1], axis=1)
    places = tf.stack([rows, tf.where(unwanted >= 0, unwanted, width)], axis=2)
    lowest = tf.fill(tf.shape(unwanted), scores.dtype.min)
    masked = tf.tensor_scatter_nd_update(tf.pad(scores, [[0, 0], [0, 1]]), places, lowest)[:, :-1]
    top = tf.math.top_k(masked, k=tf.minimum(candidates, width), sorted=True)
    allowed = top.values > scores.dtype.min
    lots = keras.random.uniform(tf.shape(top.indices), seed=seeds) + tf.where(allowed, 0.0, 1.0)
    order = tf.argsort(lots, axis=1)[:, :draw]
    retrieved = tf.gather(scores, targets, batch_dims=1) >= top.values[:, -1]
    return tf.gather(tf.where(allowed, top.indices, -1), order, batch_dims=1), retrieved
