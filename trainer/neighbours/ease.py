"""EASE's weights between items, in closed form (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

#: Memory is 12 bytes x items x items, 7 GiB here; the inverse takes some minutes on 2 cores.
MAX_ITEMS = 25_000
_ROWS_PER_BLOCK = 1024


def ease_weights(gram: npt.NDArray[np.float64], regularization: float) -> npt.NDArray[np.float32]:
    """What having one item says about another.

    With the users x items matrix X and ``P = (X'X + regularization I)^-1``, item i predicts item j with weight
    ``-P_ij / P_jj`` and never itself (Steck 2019, equation 8).

    Args:
        gram: float64 [N, N], X'X; is overwritten.
        regularization: L2 weight, in users.

    Returns:
        float32 [N, N]; row i is what item i predicts.

    Raises:
        ValueError: the regularization is not positive.
    """
    if not len(gram):
        return gram.astype(np.float32)
    np.einsum("ii->i", gram)[:] += regularization
    # The transpose of a symmetric matrix is in the order of LAPACK, so that it works in place.
    factor, failed = lapack.dpotrf(gram.T, lower=True, overwrite_a=True)
    half, failed_too = lapack.dpotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise ValueError(f"EASE needs a positive regularization, got {regularization}")
    weights = np.empty(gram.shape, np.float32)
    for first in range(0, len(gram), _ROWS_PER_BLOCK):
        rows = slice(first, first + _ROWS_PER_BLOCK)
        inverse = np.tril(half[rows], first) + np.triu(half[:, rows].T, first + 1)
        weights[rows] = inverse / -np.diag(half)
    np.fill_diagonal(weights, 0.0)
    return weights
