"""Spans, the log as JSON, and the profiler service."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from server_client import Client, failure, predict_request

from serving.server import EmbeddedServer
from serving.server.log_format import JsonFormatter
from serving.server.tracing import Tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MONITORING = "prometheus_config { enable: true }"


@pytest.fixture(scope="module")
def traced(half_plus_two: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Any]]:
    """A client of a server that traces, and where the spans arrive."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monitoring = tmp_path_factory.mktemp("monitoring") / "monitoring.config"
    monitoring.write_text(MONITORING)
    server = EmbeddedServer(
        model_name="m",
        model_base_path=half_plus_two,
        port=0,
        rest_api_port=-1,
        enable_tracing=True,
        monitoring_config_file=monitoring,
    )
    server._tracing = Tracing(provider)
    with server:
        client = Client(server.address, server, server.rest_port)
        yield client, exporter
        client.close()


def _spans(exporter: Any, count: int) -> list[Any]:
    """The spans since the last look; a span ends a moment after its answer has gone."""
    wait_until(lambda: len(exporter.get_finished_spans()) >= count)
    spans = list(exporter.get_finished_spans())
    exporter.clear()
    return spans


def test_spans_of_calls_hang_below_the_callers(traced: tuple[Client, Any]) -> None:
    client, exporter = traced
    request = predict_request("m", {"x": [1.0]})
    client.prediction.Predict(request, metadata=[("traceparent", PARENT)], timeout=20)
    failure(client.predict, "no", {"x": [1.0]})
    good, bad = _spans(exporter, 2)
    assert good.name == "tensorflow.serving.PredictionService/Predict"
    assert good.parent.span_id == 0xB7AD6B7169203331
    assert good.attributes["rpc.response.status_code"] == "OK"
    assert bad.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert bad.status.status_code.name == "ERROR"


def test_spans_of_rest_requests_hang_below_the_callers(traced: tuple[Client, Any]) -> None:
    client, exporter = traced
    assert client.rest("GET", "/monitoring/prometheus/metrics")[0] == 200  # has no span
    body = {"instances": [1.0]}
    assert client.rest("POST", "/v1/models/m/versions/1:predict", body, {"Traceparent": PARENT})[0] == 200
    assert client.rest("POST", "/v1/models/no:predict?q=secret", body)[0] == 404
    assert client.rest("GET", "/v1/models/m/metadata")[0] == 200
    assert client.rest("BREW", "/v1/pot")[0] == 400
    good, unknown, metadata, odd = _spans(exporter, 4)
    assert good.name == "POST /v1/models/{name}/versions/{version}:predict"
    assert good.kind.name == "SERVER"
    assert good.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert good.parent.span_id == 0xB7AD6B7169203331
    assert dict(good.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/models/{name}/versions/{version}:predict",
        "url.scheme": "http",
        "url.path": "/v1/models/m/versions/1:predict",
        "http.response.status_code": 200,
    }
    assert unknown.parent is None
    assert unknown.name == "POST /v1/models/{name}:predict"
    assert unknown.attributes["url.path"] == "/v1/models/no:predict"
    assert unknown.attributes["http.response.status_code"] == 404
    assert unknown.status.status_code.name == "UNSET"  # the caller's mistake is no error of the server
    assert metadata.name == "GET /v1/models/{name}/metadata"
    assert (odd.name, odd.attributes["http.request.method"]) == ("HTTP", "_OTHER")


def test_a_failure_of_the_server_marks_its_span(
    traced: tuple[Client, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, exporter = traced

    def broken(*args: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr("serving.server.model_info.model_status", broken)
    assert client.rest("GET", "/v1/models/m")[0] == 500
    (span,) = _spans(exporter, 1)
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == "500"


def test_a_log_record_as_json() -> None:
    record = logging.LogRecord(
        "serving.server.manager", logging.INFO, "x.py", 1, "Model %s is “up”", ("m",), None
    )
    record.model, record.version = "m", 3
    entry = json.loads(JsonFormatter().format(record))
    stamp = entry.pop("time")
    assert len(stamp) == len("2026-01-01T00:00:00.000Z")
    assert entry == {
        "level": "INFO",
        "logger": "serving.server.manager",
        "message": "Model m is “up”",
        "model": "m",
        "version": 3,
    }
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "x.py", 1, "two\nlines", (), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert "ValueError: broken" in json.loads(text)["exception"]


def test_the_profiler_is_not_there_unless_enabled(embedded: Any, half_plus_two: Path) -> None:
    with embedded(model_name="m", model_base_path=half_plus_two) as client:
        call = client.channel.unary_unary("/tensorflow.ProfilerService/Profile")
        assert failure(call, b"", timeout=20)[0] == "UNIMPLEMENTED"


TRACE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
tf.profiler.experimental.client.trace("grpc://" + sys.argv[1], sys.argv[2], 1000)
"""


@pytest.mark.slow
def test_tensorflows_own_client_profiles_the_server(
    embedded: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    with embedded(model_name="m", model_base_path=half_plus_two, enable_profiler=True) as client:
        done = threading.Event()

        def call() -> None:
            while not done.is_set():
                client.value("m", {"x": [1.0]})

        caller = threading.Thread(target=call)
        caller.start()
        command = [sys.executable, "-c", TRACE, client.address, str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        done.set()
        caller.join()
    assert result.returncode == 0, result.stderr
    (trace,) = tmp_path.rglob("*.xplane.pb")
    assert b"SessionRun" in trace.read_bytes() or trace.stat().st_size > 1000
