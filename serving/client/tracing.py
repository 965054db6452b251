"""OpenTelemetry spans of a client; needs `pip install 'twotower[tracing]'`."""

from __future__ import annotations

import time

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from serving.client.events import AttemptEvent, CallEvent

AttributeValue = str | int | bool


class TracingObserver:
    """Records a span a call and a span an attempt, below whatever span is current.

    Names follow OpenTelemetry's conventions for RPC (`rpc.system`, `rpc.method`); ids, texts and vectors of
    users are in none of them.

    Args:
        tracer: makes the spans; None: the global provider's.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("twotower.client")

    def on_attempt(self, event: AttemptEvent) -> None:
        """Records an attempt."""
        attributes: dict[str, AttributeValue] = {
            "server.address": event.target,
            "twotower.attempt": event.attempt,
            "twotower.hedged": event.hedged,
        }
        self._record(f"{event.method} attempt", event, attributes)

    def on_call(self, event: CallEvent) -> None:
        """Records a call."""
        attributes: dict[str, AttributeValue] = {"twotower.attempts": event.attempts}
        if event.version is not None:
            attributes["twotower.version"] = event.version
        if event.arm is not None:
            attributes["twotower.arm"] = event.arm
        self._record(event.method, event, attributes)

    def _record(
        self, name: str, event: AttemptEvent | CallEvent, attributes: dict[str, AttributeValue]
    ) -> None:
        # Events come when what they tell of is over: the span is opened in the past and closed now.
        end = time.time_ns()
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, start_time=end - int(event.seconds * 1e9), attributes=attributes
        )
        span.set_attributes(
            {
                "rpc.system": "grpc",
                "rpc.method": event.method,
                "rpc.response.status_code": event.code,
                "twotower.model": event.model,
                "twotower.signature": event.signature,
            }
        )
        if event.code != "OK":
            span.set_status(Status(StatusCode.ERROR, event.code))
        span.end(end_time=end)


def trace_headers() -> list[tuple[str, str]]:
    """Returns the headers that tie the server's spans to the current one.

    Give it to a client: ChannelSettings(metadata=trace_headers).
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return list(carrier.items())
