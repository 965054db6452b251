"""Single queries to look at: lists that hit the target, and lists that missed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import Scorer, history_pairs, top_items


@dataclass(frozen=True)
class Example:
    """What one user had, wanted and was shown, as titles.

    Attributes:
        history: the last items, oldest first.
        wanted: the target.
        rank: the target's rank.
        shown: the list, best first.
    """

    history: tuple[str, ...]
    wanted: str
    rank: int
    shown: tuple[str, ...]


def pick_examples(
    queries: EvaluationQueries,
    ranks: npt.NDArray[np.integer],
    scorer: Scorer,
    titles: Sequence[str],
    *,
    count: int = 4,
    length: int = 10,
    exclude_history: bool = True,
    seed: int = 0,
) -> tuple[list[Example], list[Example]]:
    """Draws good and bad lists, each of another user.

    Args:
        queries: Q queries.
        ranks: integer [Q], what the model made of them.
        scorer: The model, to make the lists again.
        titles: One title an item, in the order of the catalogue.
        count: Examples of each kind at most.
        length: Items of a list, and of the history that is shown.
        exclude_history: As in the evaluation.
        seed: Of the draw.

    Returns:
        Good examples (the target among the first three) and bad ones (its rank in the worst quarter, and not
        in the list), both drawn at random among all that qualify, so that neither is a showcase.
    """
    rng = np.random.default_rng(seed)
    good = np.flatnonzero(ranks <= 3)
    bad = np.flatnonzero((ranks > length) & (ranks >= np.quantile(ranks, 0.75)))
    drawn = (_of_different_users(queries, rng.permutation(pool), count) for pool in (good, bad))
    good_examples, bad_examples = (
        [_example(queries, query, ranks, scorer, titles, length, exclude_history) for query in chosen]
        for chosen in drawn
    )
    return good_examples, bad_examples


def _of_different_users(queries: EvaluationQueries, order: npt.NDArray[np.int64], count: int) -> list[int]:
    _, first = np.unique(queries.sequence[order], return_index=True)
    return [int(query) for query in order[np.sort(first)][:count]]


def _example(
    queries: EvaluationQueries,
    query: int,
    ranks: npt.NDArray[np.integer],
    scorer: Scorer,
    titles: Sequence[str],
    length: int,
    exclude_history: bool,
) -> Example:
    excluded = history_pairs(queries, query, query + 1) if exclude_history else None
    shown = top_items(scorer(query, query + 1), length, excluded)[0]
    history = queries.histories(query, query + 1, length)[0]
    return Example(
        tuple(titles[item] for item in history if item >= 0),
        titles[queries.target_items()[query]],
        int(ranks[query]),
        tuple(titles[item] for item in shown if item >= 0),
    )
