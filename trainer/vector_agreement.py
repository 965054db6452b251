"""How near the vectors of one encoder are to those of another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_TINY = 1e-12


def cosine_figures(came: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> dict[str, float]:
    """Mean, 5th percentile and least cosine of the rows of two float32 [N, E]; rows that are zero are left out.

    Args:
        came: Vectors of the one.
        wanted: Vectors of the other, of the same texts.

    Returns:
        "mean", "p5" and "min"; 1 without rows.
    """
    present = wanted.any(axis=1)
    came, wanted = came[present], wanted[present]
    if not len(wanted):
        return {"mean": 1.0, "p5": 1.0, "min": 1.0}
    lengths = np.linalg.norm(came, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines = (came * wanted).sum(axis=1) / np.maximum(lengths, _TINY)
    return {
        "mean": float(cosines.mean()),
        "p5": float(np.percentile(cosines, 5)),
        "min": float(cosines.min()),
    }
