"""Prometheus metrics and OpenTelemetry spans, read back from their own libraries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_films import PATIENT

from serving.client import ChannelSettings, RecommenderClient
from serving.client.errors import InternalError

prometheus_client = pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from serving.client.prometheus import PrometheusObserver  # noqa: E402
from serving.client.tracing import TracingObserver, trace_headers  # noqa: E402


def test_prometheus_counts_calls_and_attempts(server):
    registry = prometheus_client.CollectorRegistry()
    settings = replace(PATIENT, observers=[PrometheusObserver(registry)])
    with RecommenderClient(server.target, "films", settings) as client:
        client.metadata()
        server.fail("UNAVAILABLE")
        client.similar_items("a")
        server.fail("INTERNAL")
        with pytest.raises(InternalError):
            client.similar_items("a")

    call = {"method": "Predict", "model": "films", "signature": "similar_items", "arm": ""}
    assert registry.get_sample_value("twotower_client_calls_total", {**call, "code": "OK"}) == 1
    assert registry.get_sample_value("twotower_client_calls_total", {**call, "code": "INTERNAL"}) == 1
    assert registry.get_sample_value("twotower_client_call_seconds_count", call) == 2
    attempt = {"method": "Predict", "target": server.target, "hedged": "false"}
    codes = {"OK": 1, "UNAVAILABLE": 1, "INTERNAL": 1}
    for code, count in codes.items():
        labels = {**attempt, "code": code}
        assert registry.get_sample_value("twotower_client_attempts_total", labels) == count


def test_spans_say_what_happened_and_reach_the_server(server):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    channel = ChannelSettings(metadata=trace_headers)
    settings = replace(PATIENT, channel=channel, observers=[TracingObserver(tracer)])
    with RecommenderClient(server.target, "films", settings) as client:
        client.metadata()
        exporter.clear()
        server.fail("UNAVAILABLE")
        with tracer.start_as_current_span("page") as page:
            client.recommend(["secret"], query="secret")

    spans = [span for span in exporter.get_finished_spans() if span.name != "page"]
    assert [span.name for span in spans] == ["Predict attempt", "Predict attempt", "Predict"]
    assert [span.attributes["rpc.response.status_code"] for span in spans] == ["UNAVAILABLE", "OK", "OK"]
    assert spans[2].attributes["twotower.attempts"] == 2
    assert spans[2].attributes["twotower.version"] == 1
    assert all(span.parent.span_id == page.get_span_context().span_id for span in spans)
    assert spans[2].end_time - spans[2].start_time >= spans[1].end_time - spans[1].start_time
    assert "secret" not in str([dict(span.attributes) for span in spans])
    trace_id = f"{page.get_span_context().trace_id:032x}"
    assert trace_id in server.calls[-1].metadata["traceparent"]
