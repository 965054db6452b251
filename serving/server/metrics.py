"""Counters and histograms under TensorFlow Serving's names, written in Prometheus' text format."""

from __future__ import annotations

import bisect
import itertools
import os
import threading
from collections.abc import Sequence
from pathlib import Path

# 10 us times 1.8 each, 33 buckets: the real server's scale for latencies, in microseconds.
LATENCY_BOUNDS = tuple(10 * 1.8**i for i in range(33))
# 1, 2, 4 ... 16,384 examples a request.
EXAMPLE_BOUNDS = tuple(float(2**i) for i in range(15))

Labels = tuple[str, ...]


class Counter:
    """A number that only grows, one a set of label values."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]):
        self.name = name
        self._labels = tuple(labels)
        self._values: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, by: float = 1) -> None:
        """Adds to the value of these label values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        """The value now; 0 if nothing was added yet."""
        return self._values.get(labels, 0)

    def lines(self) -> list[str]:
        """The samples, one a line."""
        with self._lock:
            values = sorted(self._values.items())
        return [f"{self.name}{_braces(self._labels, labels)} {_number(value)}" for labels, value in values]


class Histogram:
    """Counts of values by size, one set a set of label values."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str], bounds: Sequence[float] = LATENCY_BOUNDS):
        self.name = name
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str) -> None:
        """Counts one value."""
        with self._lock:
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            counts[bisect.bisect_left(self._bounds, value)] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> list[str]:
        """The samples, one a line: cumulative buckets, sum, count."""
        with self._lock:
            snapshot = sorted(
                (labels, list(counts), self._sums[labels]) for labels, counts in self._counts.items()
            )
        result = []
        bounds = [*(_number(bound) for bound in self._bounds), "+Inf"]
        for labels, counts, total in snapshot:
            for bound, count in zip(bounds, itertools.accumulate(counts), strict=True):
                braces = _braces((*self._labels, "le"), (*labels, bound))
                result.append(f"{self.name}_bucket{braces} {count}")
            braces = _braces(self._labels, labels)
            result.append(f"{self.name}_sum{braces} {_number(total)}")
            result.append(f"{self.name}_count{braces} {sum(counts)}")
        return result


class Metrics:
    """Everything the server counts."""

    def __init__(self) -> None:
        self.request_count = Counter(":tensorflow:serving:request_count", ("model_name", "status"))
        self.request_latency = Histogram(
            ":tensorflow:serving:request_latency", ("model_name", "API", "entrypoint")
        )
        self.runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency", ("model_name", "API", "runtime")
        )
        self.example_counts = Histogram(
            ":tensorflow:serving:request_example_counts", ("model",), EXAMPLE_BOUNDS
        )
        self.example_count_total = Counter(":tensorflow:serving:request_example_count_total", ("model",))
        self.load_attempts = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count", ("model_path", "status")
        )
        self.load_latency = Counter(":tensorflow:cc:saved_model:load_latency", ("model_path",))
        self.warmup_latency = Histogram(":tensorflow:serving:model_warmup_latency", ("model_path", "status"))

    def include(self, metric: Counter) -> None:
        """Adds a counter that somebody else keeps."""
        setattr(self, metric.name, metric)

    def text(self) -> str:
        """All metrics, and those of the process, in Prometheus' text format."""
        lines = []
        for metric in vars(self).values():
            samples = metric.lines()
            if samples:
                lines += [f"# TYPE {metric.name} {metric.kind}", *samples]
        for name, kind, value in process_samples():
            lines += [f"# TYPE {name} {kind}", f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"


def process_samples() -> list[tuple[str, str, float]]:
    """(name, kind, value) of the usual process metrics, read from /proc."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    ticks = os.sysconf("SC_CLK_TCK")
    return [
        ("process_cpu_seconds_total", "counter", (int(stat[11]) + int(stat[12])) / ticks),
        ("process_start_time_seconds", "gauge", boot + int(stat[19]) / ticks),
        ("process_virtual_memory_bytes", "gauge", int(stat[20])),
        ("process_resident_memory_bytes", "gauge", int(stat[21]) * os.sysconf("SC_PAGE_SIZE")),
        ("process_open_fds", "gauge", len(list(Path("/proc/self/fd").iterdir()))),
    ]


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
