"""iALS: matrix factorization of implicit feedback, by the library `implicit` (extra `baselines`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

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

#: Passes over users and items; the loss hardly moves afterwards (Hu, Koren and Volinsky, 2008, used 10).
ITERATIONS = 15


class IALS:
    """Implicit alternating least squares (Hu, Koren and Volinsky, 2008), which tuned well is hard to beat.

    Tuning vector size and regularization is what makes it strong (Rendle, Krichene, Zhang and Koren, 2022). A
    user is represented by the history of the query (one least-squares solution), so users unseen in training
    are served alike.

    Args:
        factors: Size of the vectors.
        regularization: L2 weight.
        alpha: Confidence in an observed event over an unobserved one.
        half_life: Events after which a history event counts half; None = all count the same, as published.
        seed: Of the initial vectors.
        learn: Shares the factors with other instances of the same settings but for `half_life`.
    """

    name = "iALS"

    def __init__(
        self,
        factors: int = 64,
        regularization: float = 0.1,
        alpha: float = 10.0,
        half_life: float | None = None,
        seed: int = 0,
        learn: LearnOnce[Any] | None = None,
    ) -> None:
        self.factors, self.regularization, self.alpha = factors, regularization, alpha
        self.half_life, self.seed = half_life, seed
        self._learn = learn or _learner(factors, regularization, alpha, seed)
        self._model: Any = None
        self._counts = np.zeros(0, np.float32)

    @classmethod
    def grid(cls, seed: int = 0) -> Iterator[IALS]:
        """The 90 settings that tuning tries."""
        for factors, regularization, alpha in itertools.product(
            (32, 128), (0.1, 1.0, 10.0), (1.0, 3.0, 10.0)
        ):
            learn = _learner(factors, regularization, alpha, seed)
            for half_life in HALF_LIVES:
                yield cls(factors, regularization, alpha, half_life, seed, learn)

    def settings(self) -> dict[str, object]:
        """The settings by name."""
        return {
            "factors": self.factors,
            "regularization": self.regularization,
            "alpha": self.alpha,
            "half_life": self.half_life,
        }

    def fit(
        self, train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> IALS:
        """Factorizes the matrix; arguments as in :class:`~trainer.evaluation.baselines.base.Baseline`.

        Raises:
            ModuleNotFoundError: if the library is not installed.
        """
        self._counts = item_counts(train_items, num_items)
        self._model = self._learn(train_items, row_splits, num_items)
        return self

    def scorer(self, queries: EvaluationQueries) -> Scorer:
        """Solves for a vector of each history; popularity serves an empty one."""
        model, counts = self._model, self._counts

        def score(start: int, stop: int) -> Scores:
            history = history_matrix(queries, start, stop, len(counts), self.half_life)
            vectors = model.recalculate_user(np.arange(stop - start), history)
            scores: Scores = np.asarray(vectors @ model.item_factors.T, np.float32)
            scores[np.diff(history.indptr) == 0] = counts
            return scores

        return score


def _learner(factors: int, regularization: float, alpha: float, seed: int) -> LearnOnce[Any]:
    def learn(
        train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> Any:
        try:
            from implicit.cpu.als import AlternatingLeastSquares
            from threadpoolctl import threadpool_limits
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"the baseline 'ials' needs the package {error.name!r}, which is not installed. "
                "Install it with: pip install 'twotower[baselines]'"
            ) from None

        # The library runs its own threads, among which those of the linear algebra would get in the way.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=factors,
                regularization=regularization,
                alpha=alpha,
                iterations=ITERATIONS,
                random_state=seed,
            )
            model.fit(interaction_matrix(train_items, row_splits, num_items), show_progress=False)
        return model

    return LearnOnce(learn)
