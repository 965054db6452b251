"""EASE: a linear model over all items at once, in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainer.evaluation.baselines.base import (
    HALF_LIVES,
    LearnOnce,
    history_matrix,
    interaction_matrix,
    item_counts,
)
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import Scorer, Scores
from trainer.neighbours.ease import MAX_ITEMS, ease_weights


class EASE:
    """Embarrassingly shallow autoencoder (Steck, 2019).

    With the users x items matrix X and ``P = (X'X + regularization I)^-1``, item i predicts item j with
    weight ``-P_ij / P_jj`` and never itself; a candidate scores the sum over the history's items.

    Args:
        regularization: L2 weight, in users.
        half_life: Events after which a history event counts half; None = all count the same, as published.
        learn: Shares the weights with other instances of the same regularization.
    """

    name = "EASE"

    def __init__(
        self,
        regularization: float = 200.0,
        half_life: float | None = None,
        learn: LearnOnce[npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self.regularization, self.half_life = regularization, half_life
        self._learn = learn or _learner(regularization)
        self._weights = np.zeros((0, 0), np.float32)
        self._counts = np.zeros(0, np.float32)

    @classmethod
    def grid(cls) -> Iterator[EASE]:
        """The 35 settings that tuning tries."""
        for regularization in (10.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0):
            learn = _learner(regularization)
            for half_life in HALF_LIVES:
                yield cls(regularization, half_life, learn)

    def settings(self) -> dict[str, object]:
        """The two settings by name."""
        return {"regularization": self.regularization, "half_life": self.half_life}

    def fit(
        self, train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> EASE:
        """Solves for the weights; arguments as in :class:`~trainer.evaluation.baselines.base.Baseline`.

        Raises:
            ValueError: if the catalogue is too large for a dense inverse.
        """
        if num_items > MAX_ITEMS:
            raise ValueError(
                f"EASE inverts a matrix of items x items and is meant for up to {MAX_ITEMS:,} items, "
                f"got {num_items:,}. Leave it out of the baselines."
            )
        self._counts = item_counts(train_items, num_items)
        self._weights = self._learn(train_items, row_splits, num_items)
        return self

    def scorer(self, queries: EvaluationQueries) -> Scorer:
        """Sums the weights of each history's items; popularity serves an empty history."""
        weights, counts = self._weights, self._counts

        def score(start: int, stop: int) -> Scores:
            history = history_matrix(queries, start, stop, len(weights), self.half_life)
            scores: Scores = history @ weights
            scores[np.diff(history.indptr) == 0] = counts
            return scores

        return score


def _learner(regularization: float) -> LearnOnce[npt.NDArray[np.float32]]:
    def learn(
        train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> npt.NDArray[np.float32]:
        users = interaction_matrix(train_items, row_splits, num_items)
        return ease_weights((users.T @ users).toarray().astype(np.float64), regularization)

    return LearnOnce(learn)
