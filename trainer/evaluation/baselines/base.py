"""What a baseline is, and the two matrices that all of them are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import Scorer, Scores

#: float32 sparse rows; SciPy has no types that mypy could check.
SparseRows = Any
#: Events after which a history event counts half, as grids try them; None = all count the same.
HALF_LIVES = (None, 20.0, 5.0, 2.0, 1.0)

Integers = npt.NDArray[np.integer]
LearnedT = TypeVar("LearnedT")


class Baseline(Protocol):
    """A recommender that learns from training sequences and scores evaluation queries."""

    @property
    def name(self) -> str:
        """The name in reports."""

    def settings(self) -> Mapping[str, object]:
        """What was chosen for it, for reports."""

    def fit(
        self, train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> Baseline:
        """Learns from training sequences and returns itself.

        Args:
            train_items: integer [T], catalogue indices of the training events, one user after the other, each
                in time order; -1 = outside the catalogue.
            row_splits: integer [U + 1], user u holds ``train_items[row_splits[u]:row_splits[u + 1]]``.
            num_items: N, the size of the catalogue.
        """

    def scorer(self, queries: EvaluationQueries) -> Scorer:
        """Scores of these queries, computed from their histories when asked for."""


class LearnOnce(Generic[LearnedT]):
    """Shares what was learned between baselines that differ only in how they are asked.

    Args:
        learn: Called with (train_items, row_splits, num_items), and not again for the same arrays.
    """

    def __init__(self, learn: Callable[[Integers, Integers, int], LearnedT]) -> None:
        self._learn = learn
        self._memory: tuple[Integers, Integers, int, LearnedT] | None = None

    def __call__(self, train_items: Integers, row_splits: Integers, num_items: int) -> LearnedT:
        """What was learned from these events."""
        memory = self._memory
        if (
            memory is None
            or memory[0] is not train_items
            or memory[1] is not row_splits
            or memory[2] != num_items
        ):
            memory = (train_items, row_splits, num_items, self._learn(train_items, row_splits, num_items))
            self._memory = memory
        return memory[3]


def interaction_matrix(
    train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
) -> SparseRows:
    """Users x items, 1 where the user has the item, float32 CSR [U, N]."""
    users = np.repeat(np.arange(len(row_splits) - 1), np.diff(row_splits))
    known = train_items >= 0
    matrix = sparse.csr_matrix(
        (np.ones(int(known.sum()), np.float32), (users[known], train_items[known])),
        shape=(len(row_splits) - 1, num_items),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def history_matrix(
    queries: EvaluationQueries, start: int, stop: int, num_items: int, half_life: float | None = None
) -> SparseRows:
    """Queries x items, the weight of each history event, float32 CSR [stop - start, N].

    Args:
        queries: Where the histories are.
        start: First query.
        stop: Last query + 1.
        num_items: N.
        half_life: Events after which an event counts half: the newest event weighs 1, one `half_life` events
            older weighs 0.5. None: every event weighs 1. An item seen twice weighs the sum.
    """
    row, item = queries.seen(start, stop)
    weight = np.ones(len(row), np.float32)
    if half_life is not None:
        last = np.searchsorted(row, row, side="right") - 1
        weight = np.exp2((np.arange(len(row)) - last) / half_life).astype(np.float32)
    return sparse.csr_matrix((weight, (row, item)), shape=(stop - start, num_items))


def item_counts(train_items: npt.NDArray[np.integer], num_items: int) -> npt.NDArray[np.float32]:
    """Training events of each item, float32 [N]."""
    return np.bincount(train_items[train_items >= 0], minlength=num_items).astype(np.float32)


def popularity_for_zeros(scores: Scores, counts: npt.NDArray[np.float32]) -> Scores:
    """Orders the candidates that score 0, unlike anything in the history, by popularity and below all others.

    Without this a user without history would get the catalogue in its own order.

    Args:
        scores: float32 [B, N], not negative.
        counts: float32 [N], training events of each item.
    """
    below = counts / (counts.max(initial=0.0) + np.float32(1.0)) - np.float32(1.0)
    return np.where(scores > 0, scores, below)
