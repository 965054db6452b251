"""The cosine between the users of two items, with shrinkage (Sarwar et al. 2001; Koren 2008)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

_ITEMS_PER_BLOCK = 4096


def cosine_neighbours(users: Any, neighbours: int, shrinkage: float) -> Any:
    """The nearest neighbours of every item.

    With ``c_ij`` users who have both items and ``n_i`` users who have item i::

        s_ij = c_ij / (sqrt(n_i n_j) + shrinkage)

    Args:
        users: float32 CSR [U, N], 1 where the user has the item.
        neighbours: Kept for each item.
        shrinkage: Pulls similarities that rest on few users towards zero.

    Returns:
        float32 CSR [N, N] with at most `neighbours` entries a row, made in blocks of items.
    """
    norm = np.sqrt(np.asarray(users.sum(axis=0), np.float32).ravel())
    items = users.T.tocsr()
    blocks = []
    for first in range(0, items.shape[0], _ITEMS_PER_BLOCK):
        block = (items[first : first + _ITEMS_PER_BLOCK] @ users).tocsr()
        row = np.repeat(np.arange(block.shape[0]) + first, np.diff(block.indptr))
        block.data /= norm[row] * norm[block.indices] + np.float32(shrinkage)
        block.data[row == block.indices] = 0.0
        blocks.append(_best_of_rows(block, neighbours))
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix(items.shape, dtype=np.float32)


def _best_of_rows(matrix: Any, count: int) -> Any:
    """Keeps the `count` largest positive entries of each row; of equal ones, those with the lower column."""
    matrix.sort_indices()
    for first, last in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        if last - first > count:
            order = np.argsort(-matrix.data[first:last], kind="stable")
            matrix.data[first + order[count:]] = 0.0
    matrix.eliminate_zeros()
    return matrix
