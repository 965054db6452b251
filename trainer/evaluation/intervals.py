"""How sure a number is: bootstrap intervals and a paired test, both by user and seeded.

With very many users both are replaced by their normal limits, which then agree to all printed digits and take
no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from trainer.evaluation.metrics import FloatArray

#: 1,000 resamples give a 95 % interval a Monte Carlo error well below its width (Efron and Tibshirani, 1993).
RESAMPLES = 1000
#: The smallest p-value that can come out is 1 / (PERMUTATIONS + 1).
PERMUTATIONS = 9999
#: From this many users on the normal limit is used.
MANY_USERS = 20_000


@dataclass(frozen=True)
class Interval:
    """A mean with its bounds.

    Attributes:
        value: the mean over all queries.
        low: lower bound.
        high: upper bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same queries.

    Attributes:
        difference: mean of the first minus mean of the second, with its interval.
        p_value: how often a difference at least this large, in either direction, arises when the two models'
            values are swapped at random user by user.
    """

    difference: Interval
    p_value: float


def bootstrap_intervals(
    values: Mapping[str, FloatArray],
    groups: npt.NDArray[np.integer],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap of means (Efron, 1979), drawing whole users (Field and Welsh, 2007).

    Queries of one user resemble each other, so drawing single queries would promise too much certainty.

    Args:
        values: by metric, float64 [Q], one value a query.
        groups: integer [Q], the user of each query.
        confidence: Share of the resampled means between the bounds.
        resamples: Number of draws.
        seed: Of the draws; the same draws serve all metrics.

    Returns:
        by metric, the mean and its bounds.
    """
    names = list(values)
    if not names:
        return {}
    sums, counts = _by_group(np.stack([values[name] for name in names], axis=1), groups)
    means = sums.sum(axis=0) / counts.sum()
    tail = (1.0 - confidence) / 2.0
    if len(counts) >= MANY_USERS:
        half = -NormalDist().inv_cdf(tail) * _standard_errors(sums, counts)
        low, high = means - half, means + half
    else:
        low, high = np.quantile(_bootstrap_means(sums, counts, resamples, seed), [tail, 1.0 - tail], axis=0)
    return {
        name: Interval(float(means[column]), float(low[column]), float(high[column]))
        for column, name in enumerate(names)
    }


def paired_comparison(
    first: FloatArray,
    second: FloatArray,
    groups: npt.NDArray[np.integer],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Fisher's randomization test of two models on the same queries (Smucker, Allan and Carterette, 2007).

    Under the hypothesis that the models do not differ, the labels of a user's values can be swapped, which
    turns the sign of the user's summed difference. The p-value is two-sided and counts the data as one of the
    permutations, so it is never 0.

    Args:
        first: float64 [Q], the first model's value of each query.
        second: float64 [Q], the second model's.
        groups: integer [Q], the user of each query.
        confidence: As in :func:`bootstrap_intervals`.
        resamples: As in :func:`bootstrap_intervals`.
        permutations: Number of random swaps.
        seed: Of swaps and draws.

    Raises:
        ValueError: if the two were not measured on the same queries.
    """
    if len(first) != len(second):
        raise ValueError(
            f"a paired test needs two models on the same queries, got {len(first)} and {len(second)} values"
        )
    difference = first - second
    interval = bootstrap_intervals(
        {"difference": difference}, groups, confidence=confidence, resamples=resamples, seed=seed
    )["difference"]
    sums = _by_group(difference[:, None], groups)[0][:, 0]
    return Comparison(interval, _p_value(sums, permutations, seed))


def _bootstrap_means(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Means [resamples, M] of values whose users were drawn with replacement."""
    draws = np.empty((resamples, sums.shape[1]))
    rng, size = np.random.default_rng(seed), len(counts)
    for index in range(resamples):
        times = np.bincount(rng.integers(size, size=size), minlength=size)
        draws[index] = times @ sums / (times @ counts)
    return draws


def _standard_errors(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of means over users with different numbers of queries (Cochran, 1977, section 6.4), float64 [M]."""
    residuals = sums - counts[:, None] * (sums.sum(axis=0) / counts.sum())
    users = len(counts)
    return np.asarray(np.sqrt(np.square(residuals).sum(axis=0) * users / (users - 1)) / counts.sum())


def _p_value(sums: npt.NDArray[np.float64], permutations: int, seed: int) -> float:
    """Share of sign patterns whose sum is as far from 0 as that of the data."""
    observed = abs(float(sums.sum()))
    if len(sums) >= MANY_USERS:
        spread = float(np.sqrt(np.square(sums).sum()))
        return 2.0 * NormalDist().cdf(-observed / spread) if spread else 1.0
    # Rounding of the sums must not hide a permutation that equals the data.
    bound = observed - 1e-12 * float(np.abs(sums).sum())
    rng = np.random.default_rng(seed)
    as_large = sum(abs(float(sums @ _signs(rng, len(sums)))) >= bound for _ in range(permutations))
    return (1 + as_large) / (1 + permutations)


def _signs(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    bits = np.unpackbits(np.frombuffer(rng.bytes((size + 7) // 8), np.uint8), count=size)
    return (1.0 - 2.0 * bits).astype(np.float64)


def _by_group(
    values: npt.NDArray[np.float64], groups: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Sums [G, M] of the rows of each group that occurs, and their numbers [G]."""
    _, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group).astype(np.int64)
    sums = [np.bincount(group, weights=column).astype(np.float64) for column in values.T]
    return np.stack(sums, axis=1), counts
