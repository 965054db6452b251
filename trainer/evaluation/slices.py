"""Groups of queries that a mean over all of them would hide."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trainer.evaluation.queries import EvaluationQueries

Mask = npt.NDArray[np.bool_]

#: Upper ends (inclusive) of the groups of history lengths, in events.
HISTORY_LENGTHS = (0, 5, 20, 50, 200)


def item_groups(training_counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
    """Which third of the training events each item belongs to, most popular items first.

    Head items are the most popular ones that together hold the first third of all training events, middle
    items hold the second, tail items the last; so each group stands for as much consumption as the others,
    whatever the shape of the long tail. Items without training events are a group of their own.

    Args:
        training_counts: integer [N], training events of each item.

    Returns:
        int8 [N]: 0 = head, 1 = middle, 2 = tail, 3 = cold.
    """
    order = np.argsort(-training_counts, kind="stable")
    total = int(np.sum(training_counts))
    before = np.cumsum(training_counts[order]) - training_counts[order]
    group = np.empty(len(training_counts), np.int8)
    group[order] = np.minimum(3 * before // max(total, 1), 2)
    group[training_counts == 0] = 3
    return group


def item_slices(queries: EvaluationQueries, training_counts: npt.NDArray[np.integer]) -> dict[str, Mask]:
    """Queries by the popularity of their target: name to bool [Q]."""
    group = item_groups(training_counts)[queries.target_items()]
    names = ("item: head", "item: middle", "item: tail", "item: cold")
    return {name: group == number for number, name in enumerate(names)}


def user_slices(queries: EvaluationQueries) -> dict[str, Mask]:
    """Queries of users seen before the split, and of users first seen in it: name to bool [Q]."""
    cold = queries.cold_users()
    return {"user: known": ~cold, "user: cold": cold}


def history_slices(queries: EvaluationQueries, bounds: tuple[int, ...] = HISTORY_LENGTHS) -> dict[str, Mask]:
    """Queries by the number of events before them: name to bool [Q]."""
    lengths = queries.history_lengths()
    slices, lowest = {}, 0
    for bound in bounds:
        name = f"history: {lowest}" if lowest == bound else f"history: {lowest}-{bound}"
        slices[name] = (lengths >= lowest) & (lengths <= bound)
        lowest = bound + 1
    slices[f"history: {lowest}+"] = lengths >= lowest
    return slices


def all_slices(queries: EvaluationQueries, training_counts: npt.NDArray[np.integer]) -> dict[str, Mask]:
    """Every slice that holds at least one query, in the order of reports."""
    slices: Mapping[str, Mask] = {
        **item_slices(queries, training_counts),
        **user_slices(queries),
        **history_slices(queries),
    }
    return {name: mask for name, mask in slices.items() if mask.any()}
