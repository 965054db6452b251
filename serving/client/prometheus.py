"""Prometheus metrics of a client; needs `pip install 'twotower[metrics]'`."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from serving.client.events import AttemptEvent, CallEvent

# Seconds. A recommendation is expected within milliseconds, and a page gives up after a second or two.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class PrometheusObserver:
    """Counts calls and attempts and measures how long calls take.

        twotower_client_calls_total{method, model, signature, arm, code}
        twotower_client_call_seconds{method, model, signature, arm}      histogram
        twotower_client_attempts_total{method, target, code, hedged}

    Make one a process and give it to every client: metrics of a name can be registered once.

    Args:
        registry: where to register.
        buckets: upper bounds of the histogram, in seconds.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, buckets: tuple[float, ...] = BUCKETS) -> None:
        call = ["method", "model", "signature", "arm"]
        self._calls = Counter(
            "twotower_client_calls",
            "Calls by outcome, retries not counted.",
            [*call, "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "twotower_client_call_seconds",
            "Seconds a call took, retries included.",
            call,
            registry=registry,
            buckets=buckets,
        )
        self._attempts = Counter(
            "twotower_client_attempts",
            "Requests sent, by target and outcome.",
            ["method", "target", "code", "hedged"],
            registry=registry,
        )

    def on_attempt(self, event: AttemptEvent) -> None:
        """Counts an attempt."""
        self._attempts.labels(event.method, event.target, event.code, str(event.hedged).lower()).inc()

    def on_call(self, event: CallEvent) -> None:
        """Counts a call and its time."""
        labels = (event.method, event.model, event.signature, event.arm or "")
        self._calls.labels(*labels, event.code).inc()
        self._seconds.labels(*labels).observe(event.seconds)
