"""Lists of K: what the index finds, in the order of the ranking head, under the rules of the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trainer import contract
from trainer.index import ItemIndex
from trainer.keras_compat import tf
from trainer.rules.list_rules import ListRules, complete, keep_from
from trainer.rules.lists import CatalogueRules, Scored, Taken
from trainer.rules.masks import allow_items, block_variants, by_category
from trainer.rules.permission import Permission

Tensors = dict[str, Any]
Head = Callable[[Any], Any]
"""float32 [B, M] scores of the ranking head for int32 [B, M] rows of the catalogue."""


class Lists:
    """Makes the lists of a served model.

    Args:
        index: The catalogue.
        k: Length of the lists.
        candidates: How many items the ranking head puts in order.
        temperature: That retrieval scores are divided by.
        repeats: Whether items of the history may come again.
    """

    def __init__(
        self, index: ItemIndex, k: int, candidates: int, temperature: float, *, repeats: bool = False
    ) -> None:
        self._index = index
        self._k = k
        self._candidates = candidates
        self._temperature = temperature
        self._repeats = repeats

    def __call__(self, inputs: Tensors, side: Tensors, head: Head | None) -> tuple[Any, Any, Any]:
        """The lists of a request; see `trainer.rules.lists`.

        Args:
            inputs: Those of the signature; rules may have one row for all.
            side: "query" float32 [B, D], "known" bool [B] and "seen" int32 [B, H] of the query side.
            head: Of the ranking; None = the order of retrieval.

        Returns:
            int32 [B, K] rows of the catalogue, float32 [B, K] scores, -inf where the list has ended, and float32 [B, K]
            propensities.
        """
        inputs, index, k = complete(inputs), self._index, self._k
        rules, queries = ListRules.of(inputs), side["query"] / self._temperature
        count = self._found(rules, k if head is None else max(self._candidates, k))
        permission = self._permission(inputs, side["seen"])

        def search(taken: Taken, first: Any, shift: Any) -> tuple[Scored, Any]:
            scores, rows = index.search(queries, side["known"], permission(taken), count)
            if head is not None:
                scores, rows, shift = tf.cond(
                    first,
                    lambda: self._by_head(head, scores, rows),
                    lambda: (_below(scores, shift), rows, shift),
                )
            return (keep_from(scores, inputs[contract.MIN_SCORE]), rows), shift

        over = CatalogueRules(
            tf.convert_to_tensor(index.categories),
            index.category_names.size(),
            tf.convert_to_tensor(index.variants),
            index.gather,
        )
        chosen = over.lists(search, rules, k)
        return tf.maximum(chosen.rows, 0), chosen.scores, chosen.propensity

    def _found(self, rules: ListRules, least: int) -> Any:
        """How many items a search must find: `least`, or a window where a rule needs more to choose from."""
        window = rule_window(self._candidates, self._k)
        return least if least == window else tf.where(rules.asked, window, least)

    def _by_head(self, head: Head, scores: Any, rows: Any) -> tuple[Any, Any, Any]:
        """The first `candidates` columns in the order of the ranking head, the others after them; and their shift."""
        first = scores[:, : self._candidates]
        ranked = head(rows[:, : self._candidates])
        shift = shift_below(ranked, first)
        ranked = tf.concat([ranked, _below(scores[:, self._candidates :], shift)], axis=1)
        ranked = tf.where(tf.math.is_finite(scores), ranked, np.float32(-np.inf))
        best = tf.math.top_k(ranked, k=tf.shape(scores)[1])
        return best.values, tf.gather(rows, best.indices, batch_dims=1), shift

    def _permission(self, inputs: Tensors, seen: Any) -> Callable[[Taken], Permission]:
        """What the request lets a row have: nothing that is excluded, filtered, used up or, without repeats, seen."""
        index = self._index
        excluded, allowed = _looked_up(
            index.rows_of, inputs[contract.EXCLUDE_ITEM_ID], inputs[contract.ALLOW_ITEM_ID]
        )
        categories = _looked_up(
            index.category_names.lookup, inputs[contract.ALLOW_CATEGORY], inputs[contract.BLOCK_CATEGORY]
        )
        if not self._repeats:
            excluded = tf.concat([seen, excluded], axis=1)
        only_items, only_categories = (
            tf.reduce_any(inputs[name] != "", axis=1)
            for name in (contract.ALLOW_ITEM_ID, contract.ALLOW_CATEGORY)
        )
        table, variants = tf.convert_to_tensor(index.categories), tf.convert_to_tensor(index.variants)
        count = index.category_names.size()

        def permission(taken: Taken) -> Permission:
            return Permission(
                tf.concat([excluded, taken.rows], axis=1),
                (
                    allow_items(allowed, only_items, index.items.size()),
                    by_category(table, count, categories[0], only_categories, categories[1], taken),
                    block_variants(variants, taken),
                ),
            )

        return permission


def rule_window(candidates: int, k: int) -> int:
    """How many of the best items compete for the places of a list under rules."""
    return max(candidates, 2 * k)


def shift_below(ranked: Any, scores: Any) -> Any:
    """What is added to the retrieval scores of items that the ranking head does not reach.

    Their order stays, and they begin 1 below the least score of the head.

    Args:
        ranked: float32 [B, C] scores of the ranking head.
        scores: float32 [B, C] retrieval scores of the same items, best first.

    Returns:
        float32 [B, 1].
    """
    reached = tf.math.is_finite(scores)
    least = tf.reduce_min(tf.where(reached, ranked, ranked.dtype.max), axis=1)
    return tf.expand_dims(least - 1.0 - scores[:, -1], 1)


def _below(scores: Any, shift: Any) -> Any:
    return tf.where(tf.math.is_finite(scores), scores + shift, scores)


def _looked_up(lookup: Callable[[Any], Any], first: Any, second: Any) -> Any:
    """int32 rows of two string tables [B, X] and [B, Y], looked up together."""
    widths = tf.stack([tf.shape(first)[1], tf.shape(second)[1]])
    return tf.split(lookup(tf.concat([first, second], axis=1)), widths, axis=1, num=2)
