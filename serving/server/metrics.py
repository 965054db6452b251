"""Counters and histograms under TensorFlow Serving's names, written in Prometheus' text format."""

from __future__ import annotations

import bisect
import itertools
import re
import threading
from collections.abc import Iterable, Sequence

from serving.server.process_metrics import process_samples

# 10 us times 1.8 each, 33 buckets: the real server's scale for latencies, in microseconds.
LATENCY_BOUNDS = tuple(10 * 1.8**i for i in range(33))
# 1, 2, 4 ... 16,384 examples a request.
EXAMPLE_BOUNDS = tuple(float(2**i) for i in range(15))

Labels = tuple[str, ...]


class _Scalar:
    """One number a set of label values.

    Args:
        name: as it stands in the page.
        labels: their names.
    """

    kind = ""

    def __init__(self, name: str, labels: Sequence[str]):
        self.name = name
        self.labels = tuple(labels)
        self._values: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def value(self, *labels: str) -> float:
        """The value now; 0 if nothing was added yet."""
        return self._values.get(labels, 0)

    def first(self) -> float:
        """The value of the first label values in their order; 0 without any."""
        with self._lock:
            return self._values[min(self._values)] if self._values else 0

    def lines(self) -> list[str]:
        """The samples, one a line."""
        with self._lock:
            values = sorted(self._values.items())
        return [f"{self.name}{_braces(self.labels, labels)} {_number(value)}" for labels, value in values]


class Counter(_Scalar):
    """A number that only grows."""

    kind = "counter"

    def add(self, *labels: str, by: float = 1) -> None:
        """Adds to the value of these label values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + by


class Gauge(_Scalar):
    """A number that is set."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Sets the value of these label values."""
        with self._lock:
            self._values[labels] = value


class Histogram:
    """Counts of values by size, one set a set of label values."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str], bounds: Sequence[float] = LATENCY_BOUNDS):
        self.name = name
        self.labels = tuple(labels)
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
                braces = _braces((*self.labels, "le"), (*labels, bound))
                result.append(f"{self.name}_bucket{braces} {count}")
            braces = _braces(self.labels, labels)
            result.append(f"{self.name}_sum{braces} {_number(total)}")
            result.append(f"{self.name}_count{braces} {sum(counts)}")
        return result


Metric = Counter | Gauge | Histogram


class BatchingMetrics:
    """What `--enable_batching` counts.

    The last three are summaries without values in the real server's page; here they are histograms.

    Attributes:
        queuing_latency: microseconds between a call's arrival and its batch, by thread pool.
        wrapped_runs: batches run.
        input_size: rows of each tensor of each call.
        processed_size: rows of each batch, padding included.
        padding_size: rows of padding, by the size of the batch.
    """

    def __init__(self) -> None:
        prefix = ":tensorflow:serving:batching_session:"
        self.queuing_latency = Histogram(
            f"{prefix}queuing_latency", ("thread_pool_name",), tuple(100 * 1.2**i for i in range(52))
        )
        self.wrapped_runs = Counter(f"{prefix}wrapped_run_count", ())
        self.input_size = Histogram(f"{prefix}input_batch_size", (), EXAMPLE_BOUNDS)
        self.processed_size = Histogram(f"{prefix}processed_batch_size", (), EXAMPLE_BOUNDS)
        self.padding_size = Histogram(
            f"{prefix}padding_size", ("execution_batch_size",), (0.0, *EXAMPLE_BOUNDS)
        )


def request_log_counter() -> Counter:
    """Counts the calls that the request log took or dropped."""
    return Counter(":tensorflow:serving:request_log_count", ("model_name", "status_code"))


class Metrics:
    """Everything the server counts, under TensorFlow Serving's names."""

    def __init__(self) -> None:
        serving, core, saved_model = (
            ":tensorflow:serving:",
            ":tensorflow:core:",
            ":tensorflow:cc:saved_model:",
        )
        self.request_count = Counter(f"{serving}request_count", ("model_name", "status"))
        self.request_latency = Histogram(f"{serving}request_latency", ("model_name", "API", "entrypoint"))
        self.runtime_latency = Histogram(f"{serving}runtime_latency", ("model_name", "API", "runtime"))
        self.example_counts = Histogram(f"{serving}request_example_counts", ("model",), EXAMPLE_BOUNDS)
        self.example_count_total = Counter(f"{serving}request_example_count_total", ("model",))
        self.load_attempts = Counter(f"{saved_model}load_attempt_count", ("model_path", "status"))
        self.load_latency = Counter(f"{saved_model}load_latency", ("model_path",))
        self.load_stages = Histogram(f"{saved_model}load_latency_by_stage", ("model_path", "stage"))
        self.mlmd_map = Gauge(f"{serving}mlmd_map", ("model_name", "version"))
        self.warmup_latency = Histogram(f"{serving}model_warmup_latency", ("model_path", "status"))
        self.warmup_records = Counter(f"{serving}model_warmup_records_read", ("model_path",))
        self.graph_runs = Counter(f"{core}graph_runs", ())
        self.graph_run_time = Counter(f"{core}graph_run_time_usecs", ())
        self.graph_run_times = Histogram(
            f"{core}graph_run_time_usecs_histogram", (), tuple(1000.0 * 2**i for i in range(20))
        )
        self.session_runs = Counter(f"{core}direct_session_runs", ())
        self.batching = BatchingMetrics()
        self.request_log_count = request_log_counter()
        self._listed: dict[str, Metric] = {
            metric.name: metric
            for metric in (*vars(self).values(), *vars(self.batching).values())
            if isinstance(metric, (Counter, Gauge, Histogram))
        }

    @property
    def names(self) -> list[str]:
        """Names of all metrics but those of the process."""
        return sorted(self._listed)

    @property
    def described(self) -> dict[str, tuple[str, Labels]]:
        """(kind, names of labels) of all metrics but those of the process, by name."""
        return {name: (metric.kind, metric.labels) for name, metric in sorted(self._listed.items())}

    def count_run(self, seconds: float) -> None:
        """Counts one run of a model's graph."""
        self.graph_runs.add()
        self.session_runs.add()
        self.graph_run_time.add(by=int(seconds * 1e6))
        self.graph_run_times.observe(seconds * 1e6)

    def values(self, names: Iterable[str]) -> dict[str, int]:
        """Counters by TensorFlow's own name ("/tensorflow/core/graph_runs"), for ReloadConfigResponse.

        As in the real server a metric with labels stands for its first cell, and anything but a known counter
        is 0.
        """
        return {name: self._first_cell(re.sub(r"[^a-zA-Z0-9_]", ":", name)) for name in names}

    def _first_cell(self, name: str) -> int:
        metric = self._listed.get(name)
        return int(metric.first()) if isinstance(metric, Counter) else 0

    def text(self) -> str:
        """All metrics, and those of the process, in Prometheus' text format.

        As in the real server a metric without a value yet has its line of type.
        """
        lines = []
        for name in sorted(self._listed):
            metric = self._listed[name]
            lines += [f"# TYPE {name} {metric.kind}", *metric.lines()]
        for name, kind, value in process_samples():
            lines += [f"# TYPE {name} {kind}", f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
