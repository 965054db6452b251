"""The rules that decide which items of a window make the list, as a request states them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import contract
from trainer.keras_compat import tf

NEUTRAL: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(
        (contract.EXCLUDE_ITEM_ID, contract.ALLOW_ITEM_ID, contract.ALLOW_CATEGORY, contract.BLOCK_CATEGORY),
        (tf.string, [[""]]),
    ),
    **dict.fromkeys((contract.MAX_PER_CATEGORY, contract.ONE_PER_VARIANT, contract.SEED), (tf.int64, [0])),
    **dict.fromkeys((contract.MIN_SCORE, contract.DIVERSITY, contract.EXPLORATION), (tf.float32, [math.nan])),
}
"""By rule: dtype, and one row that asks for nothing."""


@dataclass(frozen=True)
class ListRules:
    """One value a row; what is not asked for is 0.

    Attributes:
        max_per_category: int64 [B] at most so many items of any one category; 0 = any number.
        one_per_variant: bool [B]: at most one item of each variant group.
        diversity: float32 [B], 0 to 1: the weight of dissimilarity in maximal marginal relevance.
        exploration: float32 [B], 0 or more: the temperature at which places are drawn; 0 = the best item.
        seed: int64 [B] of the draws.
    """

    max_per_category: Any
    one_per_variant: Any
    diversity: Any
    exploration: Any
    seed: Any

    @classmethod
    def of(cls, inputs: dict[str, Any]) -> ListRules:
        """Reads the inputs of a request; numbers out of range mean the nearest that is in range."""
        return cls(
            max_per_category=tf.maximum(inputs[contract.MAX_PER_CATEGORY], 0),
            one_per_variant=inputs[contract.ONE_PER_VARIANT] > 0,
            diversity=tf.minimum(_given(inputs[contract.DIVERSITY]), 1.0),
            exploration=_given(inputs[contract.EXPLORATION]),
            seed=inputs[contract.SEED],
        )

    @property
    def asked(self) -> Any:
        """Bool scalar: whether any row has any of them."""
        wishes = (self.max_per_category > 0, self.one_per_variant, self.diversity > 0, self.exploration > 0)
        return tf.reduce_any(tf.stack(wishes))


def complete(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a request with as many rows in each rule as there are in the history; one row counts for all."""
    column = tf.ones([tf.shape(inputs[contract.HISTORY_ITEM_ID])[0]], tf.bool)
    table = tf.expand_dims(column, 1)

    def filled(rule: Any) -> Any:
        return tf.where(column if rule.shape.rank == 1 else table, rule, rule)

    return inputs | {name: filled(inputs[name]) for name in contract.RULES}


def keep_from(scores: Any, min_score: Any) -> Any:
    """float32 [B, M] scores with -inf below the least of a row, float32 [B]; NaN = no least."""
    return tf.where(scores < tf.expand_dims(min_score, 1), np.float32(-np.inf), scores)


def _given(value: Any) -> Any:
    """float32 [B] with 0 for NaN, infinities and what is below 0."""
    return tf.where(tf.math.is_finite(value), tf.maximum(value, 0.0), 0.0)
