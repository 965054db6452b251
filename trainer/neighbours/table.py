"""The nearest neighbours of every trained item."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.errors import RunError
from trainer.evaluation.baselines.base import interaction_matrix
from trainer.evaluation.files import write_bytes
from trainer.neighbours.cosine import cosine_neighbours
from trainer.neighbours.ease import ease_weights

#: Up to this catalogue size the weights are EASE's: 5 GiB and some minutes on 2 cores at its upper end.
EASE_ITEMS = 20_000
_REGULARIZATION = (
    100.0  # won on the validation events of MovieLens-100k and Amazon Beauty, docs/benchmarks.md
)
_SHRINKAGE = 10.0
_ROWS_PER_BLOCK = 1024


@dataclass(frozen=True)
class NeighbourTable:
    """Items by the number of their ID embedding: 1 to T, 0 = an item without one.

    Attributes:
        ids: int32 [T + 1, K] the neighbours of each item, 0 = no neighbour; row 0 has none.
        weights: float32 [T + 1, K] what having the item says for each neighbour, 0 where there is none.
    """

    ids: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def learned(
        cls,
        items: npt.NDArray[np.integer],
        row_splits: npt.NDArray[np.integer],
        trained: int,
        neighbours: int,
    ) -> NeighbourTable:
        """Finds the neighbours in the events of training.

        Args:
            items: int [E] catalogue rows of the events of all users, below `trained`; -1 = unknown.
            row_splits: int64 [U + 1] where each user's events begin and end.
            trained: T.
            neighbours: K at most; those with the largest weights are kept, whatever their sign.
        """
        users = interaction_matrix(items, row_splits, trained)
        count = min(neighbours, max(1, trained - 1))
        if trained > EASE_ITEMS:
            return cls._of_sparse(cosine_neighbours(users, count, _SHRINKAGE), count)
        weights = ease_weights((users.T @ users).toarray().astype(np.float64), _REGULARIZATION)
        table = cls._empty(trained, count)
        for first in range(0, trained, _ROWS_PER_BLOCK):
            block = weights[first : first + _ROWS_PER_BLOCK]
            best = np.argpartition(-np.abs(block), count - 1, axis=1)[:, :count]
            table._put(first, best, np.take_along_axis(block, best, axis=1))
        return table

    @classmethod
    def _of_sparse(cls, matrix: Any, count: int) -> NeighbourTable:
        table = cls._empty(matrix.shape[0], count)
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        column = np.arange(matrix.nnz) - matrix.indptr[row]
        table.ids[row + 1, column] = matrix.indices + 1
        table.weights[row + 1, column] = matrix.data
        return table

    @classmethod
    def _empty(cls, trained: int, count: int) -> NeighbourTable:
        shape = (trained + 1, count)
        return cls(np.zeros(shape, np.int32), np.zeros(shape, np.float32))

    def _put(self, first: int, best: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> None:
        rows = slice(first + 1, first + 1 + len(best))
        self.ids[rows] = np.where(weights != 0, best + 1, 0)
        self.weights[rows] = weights

    def save(self, file: Path) -> None:
        """Writes beside the final name and renames."""
        buffer = io.BytesIO()
        np.savez(buffer, ids=self.ids, weights=self.weights)
        write_bytes(file, buffer.getvalue())

    @classmethod
    def load(cls, file: Path) -> NeighbourTable:
        """Reads what `save` wrote.

        Raises:
            RunError: it cannot be read.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["ids"], arrays["weights"])
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"Cannot read {file}: {error}. Train again with --overwrite.") from error
