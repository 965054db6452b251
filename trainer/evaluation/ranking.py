"""Exact ranks of held-out items in the whole catalogue, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainer.diagnostics import top_item_share
from trainer.evaluation import metrics
from trainer.evaluation.queries import NO_ITEM, EvaluationQueries

Scores = npt.NDArray[np.float32]
Pairs = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]
#: Called with (queries done, queries in all).
Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """Scores a range of queries against the whole catalogue."""

    def __call__(self, start: int, stop: int) -> Scores:
        """Returns float32 [stop - start, N], higher = better, columns in the order of the catalogue."""


@dataclass(frozen=True)
class ItemFacts:
    """What is known about the catalogue, for metrics beyond accuracy.

    Attributes:
        training_counts: integer [N], training events of each item (novelty, slices); None leaves novelty out.
        vectors: float [N, D], content vectors such as text embeddings or multi-hot categories, the same for
            all models compared (intra-list diversity); None leaves diversity out.
    """

    training_counts: npt.NDArray[np.integer] | None = None
    vectors: npt.NDArray[np.floating] | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """How one model did.

    Attributes:
        ranks: int64 [Q], 1-based rank of each query's target.
        exposure: int64 [N], how often each item stood among the first `list_size`.
        metrics: means over all queries, by name (``ndcg@10``, ``coverage@10``, ...).
        ks: the list lengths of the accuracy metrics.
        list_size: the list length of the metrics beyond accuracy: the smallest of `ks`.
    """

    ranks: npt.NDArray[np.int64]
    exposure: npt.NDArray[np.int64]
    metrics: dict[str, float]
    ks: tuple[int, ...]
    list_size: int


def ranks_of_targets(
    scores: Scores, targets: npt.NDArray[np.integer], excluded: Pairs | None = None
) -> npt.NDArray[np.int64]:
    """Ranks each target among all candidates of its row.

    Ties count against the target: an item with the same score stands before it, so a model that gives one
    score to everything gets the worst rank and not a lucky one. NaN counts as the lowest of all scores.

    Args:
        scores: float32 [B, N].
        targets: integer [B], the column of each row's target.
        excluded: (rows integer [P], columns integer [P]), candidates to leave out; pairs may repeat. A target
            stays in even when it is among them.

    Returns:
        int64 [B], 1 = best.
    """
    rows = np.arange(len(scores))
    threshold = scores[rows, targets]
    threshold = np.where(np.isnan(threshold), -np.inf, threshold).astype(scores.dtype)
    ahead = scores >= threshold[:, None]
    ahead[threshold == -np.inf] = True  # nothing is below the lowest score, a NaN neither
    if excluded is not None:
        ahead[excluded[0], excluded[1]] = False
    ahead[rows, targets] = False
    ranks: npt.NDArray[np.int64] = 1 + np.count_nonzero(ahead, axis=1).astype(np.int64)
    return ranks


def history_pairs(queries: EvaluationQueries, start: int, stop: int) -> Pairs:
    """The items of each history but for the target, as (rows, columns) to leave out of a ranking."""
    rows, columns = queries.seen(start, stop)
    others = columns != queries.target_items()[start:stop][rows]
    return rows[others], columns[others]


def top_items(scores: Scores, k: int, excluded: Pairs | None = None) -> npt.NDArray[np.int32]:
    """The best `k` candidates of each row, best first; equal scores in the order of the catalogue.

    Args:
        scores: float32 [B, N]; NaN and -inf are never in a list.
        k: Length of the lists.
        excluded: (rows, columns) to leave out.

    Returns:
        int32 [B, k], filled up on the right with -1 where fewer candidates remain.
    """
    masked = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    if excluded is not None:
        masked[excluded[0], excluded[1]] = -np.inf
    kept = min(k, masked.shape[1])
    lists = np.full((len(masked), k), NO_ITEM, np.int32)
    if kept == 0:
        return lists
    # The kept-th best score first: partitioning alone would choose among equal scores at random.
    threshold = np.partition(masked, -kept, axis=1)[:, -kept]
    for row, lowest in enumerate(threshold):
        candidates = np.flatnonzero(masked[row] >= lowest)
        order = np.argsort(-masked[row, candidates], kind="stable")[:kept]
        best = candidates[order]
        best = best[masked[row, best] > -np.inf]
        lists[row, : len(best)] = best
    return lists


def evaluate(
    queries: EvaluationQueries,
    scorer: Scorer,
    ks: tuple[int, ...] = (10, 50),
    exclude_history: bool = True,
    batch_size: int = 256,
    progress: Progress | None = None,
    *,
    facts: ItemFacts | None = None,
) -> EvaluationResult:
    """Ranks the whole catalogue for every query.

    Memory is that of one batch, about 10 bytes x `batch_size` x N, and 8 bytes a query for the ranks.

    Args:
        queries: Q queries.
        scorer: Scores of one model over N items.
        ks: List lengths of the accuracy metrics.
        exclude_history: Whether items of the history leave the ranking (a target stays in it even when it is
            bought or seen again).
        batch_size: Queries scored at once.
        progress: Called after each batch with (queries done, queries in all).
        facts: The catalogue's counts and vectors for novelty and intra-list diversity.

    Raises:
        ValueError: if there is no query, `ks` is not positive, or the scorer answers with a wrong shape.
    """
    if not len(queries):
        raise ValueError("there is no query to evaluate: the split has no target inside the catalogue")
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be positive list lengths such as (10, 50), got {ks}")
    facts = facts or ItemFacts()
    targets, total = queries.target_items(), len(queries)
    ranks = np.empty(total, np.int64)
    exposure = np.zeros(0, np.int64)
    diversity: list[npt.NDArray[np.float64]] = []
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        scores = _checked(scorer(start, stop), stop - start, int(targets[start:stop].max()))
        excluded = history_pairs(queries, start, stop) if exclude_history else None
        ranks[start:stop] = ranks_of_targets(scores, targets[start:stop], excluded)
        lists = top_items(scores, min(ks), excluded)
        shown = np.bincount(lists[lists >= 0], minlength=scores.shape[1])
        exposure = shown if start == 0 else exposure + shown
        if facts.vectors is not None:
            diversity.append(metrics.intra_list_diversity(lists, facts.vectors))
        if progress is not None:
            progress(stop, total)
    means = {name: float(values.mean()) for name, values in metrics.accuracy_values(ranks, ks).items()}
    means |= _list_metrics(exposure, diversity, facts, min(ks))
    means[f"top_item_share@{min(ks)}"] = top_item_share(exposure, total)
    return EvaluationResult(ranks, exposure, means, tuple(ks), min(ks))


def _checked(scores: Scores, rows: int, last_item: int) -> Scores:
    if scores.ndim != 2 or scores.shape[0] != rows or scores.shape[1] <= last_item:
        raise ValueError(
            f"the scorer answered {rows} queries with scores of shape {scores.shape}, "
            f"expected ({rows}, number of catalogue items), at least {last_item + 1} columns"
        )
    return scores


def _list_metrics(
    exposure: npt.NDArray[np.int64], diversity: list[npt.NDArray[np.float64]], facts: ItemFacts, size: int
) -> dict[str, float]:
    values = {f"coverage@{size}": metrics.coverage(exposure), f"gini@{size}": metrics.gini(exposure)}
    if facts.training_counts is not None:
        values[f"novelty@{size}"] = metrics.novelty(exposure, facts.training_counts)
    if diversity:
        every = np.concatenate(diversity)
        values[f"diversity@{size}"] = float(np.nanmean(every)) if not np.isnan(every).all() else 0.0
    return values
