"""Choosing a baseline's settings on validation queries, with the metric of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from trainer.evaluation.baselines.base import Baseline
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate

BaselineT = TypeVar("BaselineT", bound=Baseline)


@dataclass(frozen=True)
class Tuned(Generic[BaselineT]):
    """The outcome of a search.

    Attributes:
        best: the baseline with the highest value, fitted on the sequences of the search.
        value: its metric on the validation queries.
        tried: (settings, value) of each candidate, in the order of the search.
    """

    best: BaselineT
    value: float
    tried: tuple[tuple[dict[str, object], float], ...]


def tune(
    candidates: Iterable[BaselineT],
    train_items: npt.NDArray[np.integer],
    row_splits: npt.NDArray[np.integer],
    num_items: int,
    validation: EvaluationQueries,
    *,
    metric: str = "ndcg@10",
    exclude_history: bool = True,
    max_queries: int = 2000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tuned[BaselineT]:
    """Fits and evaluates every candidate and keeps the best; of equals the earlier one.

    Args:
        candidates: Baselines with different settings, unfitted.
        train_items: integer [T], training events as in :meth:`Baseline.fit`.
        row_splits: integer [U + 1], their bounds.
        num_items: N, the size of the catalogue.
        validation: Queries of the validation split, never those of the test.
        metric: An accuracy metric and its k, such as ``ndcg@10``.
        exclude_history: As in the final evaluation.
        max_queries: A sample of this many validation queries is asked, the same for all candidates.
        seed: Draws the sample.
        progress: Called after each candidate with the number tried so far.

    Raises:
        ValueError: if there is no candidate or no query.
    """
    queries = validation.sample(max_queries, seed)
    k = int(metric.rpartition("@")[2])
    best: BaselineT | None = None
    best_value, tried = -1.0, []
    for candidate in candidates:
        candidate.fit(train_items, row_splits, num_items)
        result = evaluate(queries, candidate.scorer(queries), (k,), exclude_history)
        value = result.metrics[metric]
        tried.append((dict(candidate.settings()), value))
        if value > best_value:
            best, best_value = candidate, value
        if progress is not None:
            progress(len(tried))
    if best is None:
        raise ValueError("tuning needs at least one candidate, got none")
    return Tuned(best, best_value, tuple(tried))
