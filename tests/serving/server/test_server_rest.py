"""The REST API: JSON to the byte, codes and texts."""

from __future__ import annotations

import base64
import gzip
import json
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_client import Client

from serving.server.rest.writer import decimal, quote

PREDICT = "/v1/models/half:predict"


def test_rows(half: Client) -> None:
    code, body = half.rest("POST", PREDICT, {"instances": [1.0, 2.0, 5.0]})
    # RapidJSON's layout in the real server, with the bracket on a line of its own.
    assert (code, body) == (200, b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}')
    assert half.headers["Content-Type"] == "application/json"


def test_columns(half: Client) -> None:
    code, body = half.rest("POST", PREDICT, {"inputs": [1.0, 2.0]})
    assert (code, body) == (200, b'{\n    "outputs": [\n        2.5,\n        3.0\n    ]\n}')
    code, body = half.rest("POST", PREDICT, {"inputs": {"x": [1.0], "extra": 3}})
    assert (code, json.loads(body)) == (200, {"outputs": [2.5]})


def test_objects_of_several_inputs_and_outputs(half: Client) -> None:
    rows = [{"x": 5.0, "w": 3.0}, {"x": 1.0, "w": 0.5}]
    code, body = half.rest("POST", PREDICT, {"signature_name": "two", "instances": rows})
    assert (code, json.loads(body)["predictions"]) == (
        200,
        [{"sum": 8.0, "difference": 2.0}, {"sum": 1.5, "difference": 0.5}],
    )
    assert body.startswith(b'{\n    "predictions": [\n        {\n            "')
    code, body = half.rest("POST", PREDICT, {"signature_name": "two", "inputs": {"x": [1], "w": [2]}})
    assert (code, json.loads(body)) == (200, {"outputs": {"sum": [3.0], "difference": [-1.0]}})


def test_strings_plain_and_base64(half: Client) -> None:
    rows = ["b", {"b64": base64.b64encode(b"a").decode()}]
    code, body = half.rest("POST", PREDICT, {"signature_name": "look_up", "instances": rows})
    assert (code, json.loads(body)) == (
        200,
        {"predictions": [{"index": 2, "echo": "b"}, {"index": 1, "echo": "a"}]},
    )


def test_nan_and_infinity_pass_both_ways(half: Client) -> None:
    code, body = half.rest("POST", PREDICT, b'{"instances": [NaN, Infinity, -Infinity]}')
    assert (code, body) == (200, b'{\n    "predictions": [NaN, Infinity, -Infinity\n    ]\n}')


def test_classify_and_regress(half: Client) -> None:
    examples = {"signature_name": "classify", "examples": [{"x": 0.25}]}
    code, body = half.rest("POST", "/v1/models/half:classify", examples)
    assert (code, body) == (
        200,
        b'{\n    "results": [[["low", 0.75], ["high", 0.25]]\n    ]\n}',
    )
    examples = {"signature_name": "regress", "context": {"x": 6.0}, "examples": [{"a": "t"}, {"a": [1, 2]}]}
    code, body = half.rest("POST", "/v1/models/half:regress", examples)
    assert (code, body) == (200, b'{\n    "results": [5.0, 5.0]\n}')


def test_versions_are_chosen_by_path_in_any_case(half: Client) -> None:
    code, _ = half.rest(
        "POST", "/V1/models/half/Versions/1:Predict".replace("V1", "v1"), {"instances": [1.0]}
    )
    assert code == 200
    code, body = half.rest("POST", "/v1/models/half/versions/7:predict", {"instances": [1.0]})
    assert (code, json.loads(body)) == (404, {"error": "Servable not found for request: Specific(half, 7)"})
    code, body = half.rest("POST", "/v1/models/half/labels/best:predict", {"instances": [1.0]})
    assert (code, json.loads(body)) == (400, {"error": "Unrecognized servable version label: best"})


def test_status(half: Client) -> None:
    code, body = half.rest("GET", "/v1/models/half")
    assert code == 200
    assert body == (
        b'{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n   "status": {\n'
        b'    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    assert half.rest("GET", "/v1/models/half/versions/1")[0] == 200
    assert half.rest("GET", "/v1/models/%68alf")[0] == 200


def test_metadata(half: Client) -> None:
    code, body = half.rest("GET", "/v1/models/half/metadata")
    parsed = json.loads(body)
    assert code == 200
    assert parsed["model_spec"] == {"name": "half", "signature_name": "", "version": "1"}
    signature = parsed["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "serving_default_x:0",
    }


REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
    ("GET", "/v1/models", None, 400, "Missing model name in request."),
    ("GET", PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
    ("POST", "/v1/models/half", {}, 400, "Malformed request: POST /v1/models/half"),
    ("GET", "/v1/models/no", None, 404, "Could not find any versions of model no"),
    ("POST", "/v1/models/no:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(no)"),
    ("POST", PREDICT, b"", 400, "JSON Parse error: The document is empty"),
    ("POST", PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    (
        "POST",
        PREDICT,
        {"signature_name": "zz", "instances": [1]},
        400,
        'Serving signature name: "zz" not found in signature def',
    ),
    (
        "POST",
        PREDICT,
        {"instances": [[1, 2], [1]]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but "
        "got: 1",
    ),
    (
        "POST",
        PREDICT,
        {"inputs": [[1, 2], [1]]},
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    (
        "POST",
        PREDICT,
        {"signature_name": "two", "inputs": {"x": [1.0]}},
        400,
        "Missing named input: w in 'inputs' object.",
    ),
    (
        "POST",
        PREDICT,
        {"signature_name": "look_up", "inputs": [1]},
        400,
        "JSON Value: 1 Type: Number is not of expected type: string",
    ),
    (
        "POST",
        PREDICT,
        {"inputs": [16777217]},
        400,
        "Cannot convert JSON value: 16777217 to float without loss of precision.",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "code", "text"), REFUSALS)
def test_refusals(half: Client, method: str, path: str, body: Any, code: int, text: str) -> None:
    got, answer = half.rest(method, path, body)
    assert (got, json.loads(answer)) == (code, {"error": text})


def test_scalars_have_columns_only(half: Client) -> None:
    code, body = half.rest("POST", PREDICT, {"signature_name": "scalar", "inputs": 1.0})
    assert (code, json.loads(body)) == (200, {"outputs": 2.0})


def test_rows_must_have_exactly_the_inputs(half: Client) -> None:
    code, body = half.rest("POST", PREDICT, {"signature_name": "two", "instances": [{"x": 1.0}]})
    text = json.loads(body)["error"]
    assert code == 400
    assert text.startswith("Failed to process element: 0 of 'instances' list. JSON object: {")
    assert text.endswith("keys must be equal to: w,x")


def test_outside_of_v1_nothing_is_found(half: Client) -> None:
    assert half.rest("GET", "/")[0] == 404


def test_gzip_bodies(half: Client) -> None:
    body = gzip.compress(json.dumps({"instances": [1.0]}).encode())
    code, answer = half.rest("POST", PREDICT, body, {"Content-Encoding": "gzip"})
    assert (code, json.loads(answer)) == (200, {"predictions": [2.5]})


def test_cors_headers_on_request(serve: Any, half_plus_two: Path) -> None:
    flags = {"model_name": "half", "model_base_path": half_plus_two}
    with serve(**flags, rest_api_enable_cors_support=True) as client:
        assert client.rest("POST", PREDICT, {"instances": [1.0]})[0] == 200
        assert client.headers["Access-Control-Allow-Origin"] == "*"


@pytest.fixture
def raw(half: Client) -> Iterator[socket.socket]:
    if half.server is None:
        pytest.skip("checks the embedded server's own HTTP parser")
    with socket.create_connection(("127.0.0.1", half.rest_port), timeout=10) as connection:
        yield connection


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/3.0\r\n\r\n", b"505"),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc", b"400"),
        (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n", b"431"),
    ],
)
def test_broken_http_is_answered_and_closed(raw: socket.socket, request_bytes: bytes, code: bytes) -> None:
    raw.sendall(request_bytes)
    assert _read_all(raw).startswith(b"HTTP/1.1 " + code)


def test_chunks_and_several_requests_on_a_connection(raw: socket.socket) -> None:
    body = b'{"instances": [1.0]}'
    head = b"POST /v1/models/half:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    raw.sendall((head + b"\r\n" + chunked) + (head + b"Connection: close\r\n\r\n" + chunked))
    answers = _read_all(raw)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"[2.5\n    ]") == 2


def test_a_slow_client_is_cut_off(embedded: Any, half_plus_two: Path) -> None:
    flags = {"model_name": "half", "model_base_path": half_plus_two, "rest_api_timeout_in_ms": 200}
    with (
        embedded(**flags) as client,
        socket.create_connection(("127.0.0.1", client.rest_port), timeout=10) as slow,
    ):
        slow.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        begin = time.monotonic()
        assert _read_all(slow) == b""
        assert time.monotonic() - begin < 8
        assert client.rest("POST", PREDICT, {"instances": [1.0]})[0] == 200


MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'


def test_metrics(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    path = tmp_path / "monitoring.config"
    path.write_text(MONITORING)
    with serve(model_name="half", model_base_path=half_plus_two, monitoring_config_file=path) as client:
        client.value("half", {"x": [1.0]})
        client.rest("POST", PREDICT, {"instances": [1.0]})
        client.rest("POST", PREDICT, {})
        client.infer("Regress", "half", [{"x": 1.0}] * 3, signature="regress")
        code, body = client.rest("GET", "/monitoring/prometheus/metrics")
        text = body.decode()
        assert code == 200
        assert client.headers["Content-Type"].startswith("text/plain")
        assert "# TYPE :tensorflow:serving:request_count counter\n" in text
        assert ':tensorflow:serving:request_count{model_name="half",status="OK"} 3\n' in text
        sample = ':tensorflow:serving:request_latency_count{model_name="half",API="Predict",entrypoint='
        assert f'{sample}"GRPC"}} 1\n' in text
        assert f'{sample}"REST"}} 1\n' in text
        assert ':tensorflow:serving:request_example_count_total{model="half"} 3\n' in text
        assert 'le="+Inf"} 1\n' in text


def test_without_a_monitoring_config_there_are_no_metrics(half: Client) -> None:
    assert half.rest("GET", "/monitoring/prometheus/metrics")[0] == 404


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.2), "0.2"),
        (np.float32(3), "3.0"),
        (np.float32(9e6), "9e+06"),
        (np.float32(16777216), "16777216.0"),
        (np.float32(1 / 3), "0.333333343"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float32(-0.0), "-0.0"),
        (np.float32("nan"), "NaN"),
        (np.float32("-inf"), "-Infinity"),
    ],
)
def test_decimals(value: Any, text: str) -> None:
    assert decimal(value) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_decimals_lose_nothing(number: float) -> None:
    text = decimal(np.float32(number))
    assert np.float32(text) == np.float32(number)
    assert isinstance(json.loads(text), float)


@given(st.text())
def test_strings_round_trip(text: str) -> None:
    assert json.loads(quote(text)) == text


def test_nan_is_not_equal_to_itself() -> None:
    assert math.isnan(json.loads(decimal(np.float64("nan"))))
