"""The most popular items for everyone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.evaluation.baselines.base import item_counts
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import Scorer, Scores


class Popularity:
    """Scores an item by its number of training events, whoever asks."""

    name = "popularity"

    def __init__(self) -> None:
        self._scores: Scores = np.zeros(0, np.float32)

    def settings(self) -> dict[str, object]:
        """Nothing to choose."""
        return {}

    def fit(
        self, train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> Popularity:
        """Counts the events; arguments as in :class:`~trainer.evaluation.baselines.base.Baseline`."""
        self._scores = item_counts(train_items, num_items)
        return self

    def scorer(self, queries: EvaluationQueries) -> Scorer:
        """The same scores for every query."""

        def score(start: int, stop: int) -> Scores:
            return np.broadcast_to(self._scores, (stop - start, len(self._scores)))

        return score
