"""Counts that workers collect and merge: plain counters, counts by value, and histograms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_pipelines.histogram import Histogram, float_keys


@dataclass
class Tally:
    """What was counted.

    Attributes:
        counts: name to number.
        values: feature to value to number; the vocabularies.
        histograms: name to histogram; of floats by `float_keys`.
        extremes: name to smallest and largest integer.
    """

    counts: dict[str, int] = field(default_factory=dict)
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    extremes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, name: str, count: int) -> None:
        """Adds to a counter."""
        self.counts[name] = self.counts.get(name, 0) + int(count)

    def add_values(self, feature: str, names: Iterable[str], counts: Iterable[int]) -> None:
        """Adds to the counts of a feature's values; zeros leave no entry."""
        known = self.values.setdefault(feature, {})
        for name, count in zip(names, counts, strict=True):
            if count:
                known[name] = known.get(name, 0) + int(count)

    def add_integers(self, name: str, values: npt.NDArray[Any]) -> None:
        """Counts integers in a histogram."""
        self._merge_histogram(name, Histogram.of(values))

    def add_floats(self, name: str, values: npt.NDArray[np.float32]) -> None:
        """Counts finite floats in a histogram."""
        self._merge_histogram(name, Histogram.of(float_keys(values)))

    def add_extremes(self, name: str, values: npt.NDArray[Any]) -> None:
        """Notes the smallest and largest of some integers."""
        if len(values):
            self._widen(name, int(values.min()), int(values.max()))

    def update(self, other: Tally) -> None:
        """Adds everything that another tally counted."""
        for name, count in other.counts.items():
            self.add(name, count)
        for feature, values in other.values.items():
            self.add_values(feature, values.keys(), values.values())
        for name, histogram in other.histograms.items():
            self._merge_histogram(name, histogram)
        for name, (low, high) in other.extremes.items():
            self._widen(name, low, high)

    def with_prefix(self, prefix: str) -> dict[str, int]:
        """The counters whose names begin with `prefix`, without it, by name."""
        return {k.removeprefix(prefix): v for k, v in sorted(self.counts.items()) if k.startswith(prefix)}

    def to_state(self) -> dict[str, Any]:
        """Plain values and bytes, for passing through Beam."""
        histograms = {n: (h.level, h.keys.tobytes(), h.counts.tobytes()) for n, h in self.histograms.items()}
        return {
            "counts": self.counts,
            "values": self.values,
            "histograms": histograms,
            "extremes": self.extremes,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Tally:
        """The inverse of `to_state`."""
        histograms = {
            name: Histogram(np.frombuffer(keys, np.int64), np.frombuffer(counts, np.int64), level)
            for name, (level, keys, counts) in state["histograms"].items()
        }
        values = {k: dict(v) for k, v in state["values"].items()}
        return cls(dict(state["counts"]), values, histograms, dict(state["extremes"]))

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        histograms = {n: [h.level, h.keys.tolist(), h.counts.tolist()] for n, h in self.histograms.items()}
        return {
            "counts": self.counts,
            "values": self.values,
            "histograms": histograms,
            "extremes": self.extremes,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Tally:
        """The inverse of `to_json`."""
        histograms = {
            name: Histogram(np.array(keys, np.int64), np.array(counts, np.int64), level)
            for name, (level, keys, counts) in document["histograms"].items()
        }
        extremes = {name: (low, high) for name, (low, high) in document["extremes"].items()}
        return cls(document["counts"], document["values"], histograms, extremes)

    def _widen(self, name: str, low: int, high: int) -> None:
        known = self.extremes.get(name, (low, high))
        self.extremes[name] = (min(known[0], low), max(known[1], high))

    def _merge_histogram(self, name: str, histogram: Histogram) -> None:
        known = self.histograms.get(name)
        self.histograms[name] = Histogram.merge([known, histogram]) if known else histogram


def merge_states(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sums tallies in any order and grouping; for Beam's combiners."""
    total = Tally()
    for state in states:
        total.update(Tally.from_state(state))
    return total.to_state()
