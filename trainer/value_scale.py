"""Where the observed values of events lie: ratings from 1 to 5, or amounts from one to tens of thousands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_QUARTILES = 1.349  # how many deviations the quartiles of a normal distribution are apart


@dataclass(frozen=True)
class ValueScale:
    """The median and a deviation that a few huge values do not move.

    Attributes:
        median: Of the observed values.
        deviation: Of the normal distribution that has their quartiles; greater than 0.
    """

    median: float = 0.0
    deviation: float = 1.0

    @classmethod
    def measured(cls, values: npt.NDArray[np.float32]) -> ValueScale:
        """Of float32 [T] values of the training events, NaN = not observed.

        Where more than half of them are the same the plain standard deviation stands in, and 1 where all are.
        """
        observed = values[np.isfinite(values)].astype(np.float64)
        if not observed.size:
            return cls()
        low, median, high = np.quantile(observed, (0.25, 0.5, 0.75)).tolist()
        deviation = (high - low) / _QUARTILES or float(observed.std())
        return cls(median, deviation or 1.0)


AS_OBSERVED = ValueScale()
"""Values as they are."""
