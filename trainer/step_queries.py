"""The events that a step predicts, on this replica and on the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from trainer.distribution import replicas
from trainer.keras_compat import tf
from trainer.sampling import choose_fixed, choose_queries


@dataclass(frozen=True)
class StepQueries:
    """Queries of one replica, and the targets of all.

    Attributes:
        places: int32 [Q, 2] (row, column) in the replica's part of the batch.
        targets: int32 [Q] catalogue rows wanted there.
        others: int32 [O] targets of the queries of the other replicas.
        real: bool [Q] which of the queries are this replica's; None = all of them. The rest fills up a shape.
        valid: bool [Q] which of the targets are some replica's; None = all of them.
        by_item: float32 [N] how much a query counts by its target; None = all alike.
    """

    places: Any
    targets: Any
    others: Any
    real: Any = None
    valid: Any = None
    by_item: Any = None

    @classmethod
    def chosen(
        cls, items: Any, predicted: Any, *, rows: Any, limit: int, seeds: Any, fixed: bool
    ) -> StepQueries:
        """At most `limit` of the events to predict, at random, and which of them are in this replica's rows.

        All replicas draw the same, so that they need to tell each other nothing but their rows.

        Args:
            items: int32 [B, L] catalogue rows of the batches of all replicas.
            predicted: bool [B, L].
            rows: int32 scalar, rows of this replica's batch.
            limit: Largest Q of all replicas together.
            seeds: A keras SeedGenerator.
            fixed: Give shapes that do not depend on the data, as XLA needs them.
        """
        first = replicas.number() * rows
        if fixed:
            places, valid = choose_fixed(predicted, limit, seeds)
            own = (places[:, 0] >= first) & (places[:, 0] < first + rows)
            targets = tf.maximum(tf.gather_nd(items, places), 0)
            local = tf.stack([tf.clip_by_value(places[:, 0] - first, 0, rows - 1), places[:, 1]], axis=1)
            return cls(local, targets, targets[:0], real=valid & own, valid=valid)
        places = choose_queries(predicted, limit, seeds)
        targets = tf.gather_nd(items, places)
        if replicas.count() == 1:
            return cls(places, targets, targets[:0])
        own = (places[:, 0] >= first) & (places[:, 0] < first + rows)
        local = tf.boolean_mask(places, own) - tf.stack([first, 0])
        return cls(local, tf.boolean_mask(targets, own), tf.boolean_mask(targets, ~own))

    def part(self, limit: int) -> StepQueries:
        """The first of them, a replica's share of `limit`."""
        cut = slice(0, -(-limit // replicas.count()) if self.real is None else limit)
        masks = [mask if mask is None else mask[cut] for mask in (self.real, self.valid)]
        return StepQueries(self.places[cut], self.targets[cut], self.others, *masks)

    def weighted(self, by_item: Any) -> StepQueries:
        """The same queries, counting as much as their targets weigh, float32 [N]; None leaves them as they are."""
        return replace(self, by_item=by_item)

    @property
    def weights(self) -> Any:
        """float32 [Q], 1, or what the target weighs, for each query of this replica."""
        ones = tf.ones_like(self.targets, tf.float32)
        weights = ones if self.by_item is None else tf.gather(self.by_item, self.targets)
        return weights if self.real is None else weights * tf.cast(self.real, tf.float32)

    def count(self) -> Any:
        """float32 scalar, queries of all replicas."""
        if self.valid is not None:
            return tf.reduce_sum(tf.cast(self.valid, tf.float32))
        return tf.cast(tf.size(self.targets) + tf.size(self.others), tf.float32)

    def mean(self, rows: Any) -> Any:
        """This replica's part of the weighted mean of float32 [Q] over the queries of all replicas."""
        if self.real is None and self.by_item is None and replicas.count() == 1:
            return tf.reduce_mean(rows)
        return tf.reduce_sum(rows * self.weights) / tf.maximum(self._total_weight(), 1.0)

    def _total_weight(self) -> Any:
        if self.by_item is None:
            return self.count()
        everyone = tf.gather(self.by_item, tf.concat([self.targets, self.others], axis=0))
        return tf.reduce_sum(everyone if self.valid is None else everyone * tf.cast(self.valid, tf.float32))
