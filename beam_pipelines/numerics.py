"""Facts about numeric features, from training only: stand-ins for missing numbers, quantiles, moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beam_pipelines.columns import NumberSpec
from beam_pipelines.histogram import Histogram, float_value
from beam_pipelines.settings import FeatureSettings
from beam_pipelines.tally import Tally

_SHARES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def numeric_specs(settings: FeatureSettings) -> dict[str, NumberSpec]:
    """All numeric features of items and users."""
    items = settings.items.numerics if settings.items else {}
    users = settings.users.numerics if settings.users else {}
    return {**items, **users}


def numeric_defaults(tally: dict[str, Any], settings: FeatureSettings) -> dict[str, float]:
    """What stands in for a missing number: the configured default, else the median over training, else 0."""
    histograms = Tally.from_state(tally).histograms
    defaults = {}
    for name, spec in numeric_specs(settings).items():
        histogram = histograms.get(f"numeric/{name}")
        if spec.default is not None:
            defaults[name] = float(np.float32(spec.default))
        else:
            defaults[name] = float_value(histogram.quantile(0.5)) if histogram and histogram.total else 0.0
    return defaults


def describe_floats(histogram: Histogram, buckets: int = 0) -> dict[str, Any]:
    """Count, moments and quantiles of floats.

    Args:
        histogram: of `float_keys`; moments are those of the counted keys, exact while its level is 0.
        buckets: number of equal-count buckets whose inner boundaries are wanted.
    """
    if not histogram.total:
        return {"count": 0}
    values = np.array([float_value(int(key) << histogram.level) for key in histogram.keys], dtype=np.float64)
    mean = float(np.average(values, weights=histogram.counts))
    spread = float(np.sqrt(np.average((values - mean) ** 2, weights=histogram.counts)))
    facts = {
        "count": histogram.total,
        "mean": mean,
        "standard_deviation": spread,
        "quantiles": {f"{share:g}": float_value(histogram.quantile(share)) for share in _SHARES},
        "maximum": float(values[-1]),
    }
    if buckets:
        inner = [float_value(histogram.quantile(i / buckets)) for i in range(1, buckets)]
        facts["boundaries"] = sorted(set(inner))
    return facts


def describe_integers(histogram: Histogram) -> dict[str, Any]:
    """Count, mean and quantiles of integers; exact while the histogram's level is 0."""
    if not histogram.total:
        return {"count": 0}
    values = histogram.keys << histogram.level
    return {
        "count": histogram.total,
        "mean": float(np.average(values, weights=histogram.counts)),
        "quantiles": {f"{share:g}": histogram.quantile(share) for share in _SHARES},
        "maximum": int(values[-1]),
        "buckets": _powers_of_two(values, histogram.counts),
    }


def _powers_of_two(values: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> list[list[int]]:
    """[lowest, highest, number of values] of 1, 2-3, 4-7, ... as far as there are any."""
    powers = np.floor(np.log2(np.maximum(values, 1))).astype(np.int64)
    sums = np.bincount(powers, weights=counts).astype(np.int64)
    return [[1 << i, (2 << i) - 1, int(n)] for i, n in enumerate(sums.tolist())]
