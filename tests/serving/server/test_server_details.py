"""Details of the real server's behaviour, over gRPC and REST, that belong to no larger subject."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from conftest import wait_until
from server_client import failure
from server_models import copy_version
from tensorflow.core.protobuf import saved_model_pb2

from serving.server import StartError
from serving.server.errors import ServingError
from serving.server.model_config import is_empty
from serving.server.rest.routes import error_answer
from serving.wire import messages as wire


class Odd(tf.Module):
    """Signatures with outputs and types that models rarely have."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def totals(self, x: Any) -> Any:
        return {"all": x, "total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def ragged(self, x: Any) -> Any:
        return {"x": x, "y": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float16, name="x")])
    def half(self, x: Any) -> Any:
        return {"y": x * tf.constant(2.0, tf.float16)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word_bytes")])
    def words(self, word_bytes: Any) -> Any:
        return {"echo_bytes": word_bytes, "echo": word_bytes}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="x"),
            tf.TensorSpec([None], tf.float32, name="w"),
        ]
    )
    def weighted(self, x: Any, w: Any) -> Any:
        return {"y": x * w}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
    def count(self, n: Any) -> Any:
        total = tf.while_loop(lambda i: i < n[0], lambda i: [i + 1], [tf.constant(0, tf.int64)])
        return {"y": total[0][tf.newaxis]}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of `Odd`, whose signature "weighted" has 3 as the default of its input w."""
    base = tmp_path_factory.mktemp("odd")
    module = Odd()
    names = ("totals", "ragged", "half", "words", "weighted", "count")
    tf.saved_model.save(module, str(base / "1"), signatures={name: getattr(module, name) for name in names})
    file = base / "1" / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    default = tf.make_tensor_proto(np.array([3.0], np.float32))
    proto.meta_graphs[0].signature_def["weighted"].defaults["w"].CopyFrom(default)
    file.write_bytes(proto.SerializeToString())
    return base


@pytest.fixture(scope="module")
def client(serve: Any, odd: Path) -> Any:
    with serve(model_name="odd", model_base_path=odd) as client:
        yield client


def _post(client: Any, body: Any, path: str = "odd") -> tuple[int, Any]:
    status, answer = client.rest("POST", f"/v1/models/{path}:predict", body)
    return status, json.loads(answer)


def test_inputs_with_defaults_may_be_left_out(client: Any) -> None:
    assert client.value("odd", {"x": [2.0]}, signature="weighted") == [6.0]
    assert client.value("odd", {"x": [2.0], "w": [5.0]}, signature="weighted") == [10.0]
    code, text = failure(client.predict, "odd", {"w": [5.0]}, signature="weighted")
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Signature input alias: x(feed name: ")
    assert text.endswith(
        "not found in request and no default value provided. Inputs expected to be in the request {w}, or "
        "default input alias set: w"
    )


def test_defaults_are_not_for_rest_rows(client: Any) -> None:
    status, answer = _post(client, {"signature_name": "weighted", "instances": [{"x": 2.0}]})
    assert status == 400
    assert answer["error"].endswith("keys must be equal to: w,x")


def test_rows_need_outputs_of_one_batch(client: Any) -> None:
    status, answer = _post(client, {"signature_name": "totals", "instances": [1.0, 2.0]})
    assert (status, answer["error"]) == (400, "Tensor name: total has no shape information ")
    status, answer = _post(client, {"signature_name": "ragged", "instances": [1.0, 2.0, 3.0]})
    assert (status, answer["error"]) == (400, "Tensor name: y has inconsistent batch size: 1 expecting: 3")
    assert _post(client, {"signature_name": "totals", "inputs": [1.0, 2.0]}) == (
        200,
        {"outputs": {"all": [1.0, 2.0], "total": 3.0}},
    )


def test_half_is_for_grpc_only(client: Any) -> None:
    values = client.predict("odd", {"x": np.array([1.5], np.float16)}, signature="half").outputs["y"]
    assert tf.make_ndarray(values).tolist() == [3.0]
    status, answer = _post(client, {"signature_name": "half", "inputs": [1.5]})
    assert status == 501
    assert answer["error"].endswith("to type: half")


def test_outputs_called_bytes_are_base64(client: Any) -> None:
    body = {"signature_name": "words", "instances": [{"b64": "/w=="}]}
    status, raw = client.rest("POST", "/v1/models/odd:predict", body)
    assert status == 200
    assert b'{ "b64": "/w==" }' in raw
    assert b'"echo": "\xff"' in raw


def test_a_rest_call_that_takes_too_long(serve: Any, odd: Path) -> None:
    with serve(model_name="odd", model_base_path=odd, rest_api_timeout_in_ms=50) as client:
        status, answer = _post(
            client, {"signature_name": "count", "inputs": [60_000]}
        )  # some tenths of a second
    assert status == 504
    assert answer["error"]


def test_names_are_percent_decoded_and_versions_are_numbers(serve: Any, half_plus_two: Path) -> None:
    with serve(model_name="half plus", model_base_path=half_plus_two) as client:
        assert _post(client, {"instances": [1.0]}, "half%20plus") == (200, {"predictions": [2.5]})
        assert _post(client, {"instances": [1.0]}, "HALF") == (
            404,
            {"error": "Servable not found for request: Latest(HALF)"},
        )
        huge = 2**63
        status, answer = _post(client, {"instances": [1.0]}, f"half%20plus/versions/{huge}")
        assert (status, str(huge) in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", 400),
        ("FAILED_PRECONDITION", 400),
        ("OUT_OF_RANGE", 400),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("ABORTED", 409),
        ("RESOURCE_EXHAUSTED", 429),
        ("CANCELLED", 499),
        ("UNIMPLEMENTED", 501),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
        ("UNKNOWN", 500),
        ("INTERNAL", 500),
        ("DATA_LOSS", 500),
    ],
)
def test_http_codes(code: str, status: int) -> None:
    answer = error_answer(ServingError(grpc.StatusCode[code], "why"))
    assert (answer.code, json.loads(answer.body)) == (status, {"error": "why"})


def test_outputs_as_tensor_content(serve: Any, half_plus_two: Path) -> None:
    flags = {"model_name": "m", "model_base_path": half_plus_two}
    with serve(**flags, enable_serialization_as_tensor_content=True) as client:
        output = client.predict("m", {"x": [1.0, 2.0]}).outputs["y"]
        assert (output.tensor_content, list(output.float_val)) == (np.array([2.5, 3], "<f4").tobytes(), [])
        words = client.predict("m", {"key": [b"a"]}, signature="look_up").outputs["echo"]
        assert tf.make_ndarray(words).tolist() == [b"a"]


def test_warm_up_on_request(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    version = copy_version(half_plus_two / "1", tmp_path, 1)
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no record")
    with serve(model_name="m", model_base_path=tmp_path, enable_model_warmup=False) as client:
        assert client.value("m", {"x": [1.0]}) == [2.5]


def test_a_configuration_that_says_nothing_or_something_else() -> None:
    assert is_empty(wire.ModelServerConfig())
    custom = wire.ModelServerConfig()
    custom.custom_model_config.type_url = "type.googleapis.com/x"
    with pytest.raises(ServingError) as caught:
        is_empty(custom)
    assert str(caught.value) == (
        "FAILED_PRECONDITION: Cannot transition to requested config. It is only legal to transition from one "
        "ModelConfigList to another."
    )


def test_an_empty_config_file_starts_an_empty_server_and_changes_nothing_later(
    serve: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    file, scratch = tmp_path / "models.config", tmp_path / "new"
    file.write_text("")
    entry = f'config {{ name: "m" base_path: "{half_plus_two}" model_platform: "tensorflow" }}'
    with serve(model_config_file=file, model_config_file_poll_wait_seconds=1) as client:
        assert failure(client.predict, "m", {"x": [1.0]}) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        )
        scratch.write_text(f"model_config_list {{ {entry} }}")
        scratch.rename(file)
        wait_until(lambda: _answers(client))
        scratch.write_text("\n")
        scratch.rename(file)
        other = entry.replace('"m"', '"n"')
        scratch.write_text(f"model_config_list {{ {entry} {other} }}")
        assert _answers(client)
        scratch.rename(file)
        wait_until(lambda: _answers(client, "n"))
        assert _answers(client)


def _answers(client: Any, name: str = "m") -> bool:
    try:
        return bool(client.value(name, {"x": [1.0]}) == [2.5])
    except grpc.RpcError:
        return False


def test_reload_answers_with_what_was_counted(embedded: Any, half_plus_two: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    shutil.copytree(half_plus_two, tmp_path / "other")
    flags = {"model_name": "m", "model_base_path": half_plus_two, "enable_reload_config": True}
    entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    both = entry.format("m", half_plus_two) + entry.format("a", tmp_path / "other")
    with embedded(**flags) as client:
        names = ["/tensorflow/serving/request_count", "/tensorflow/core/graph_runs", "/no/such/metric"]
        request = model_management_pb2.ReloadConfigRequest(metric_names=names)
        text_format.Parse(f"model_config_list {{ {both} }}", request.config)
        client.value("m", {"x": [1.0]})
        response = client.models.HandleReloadConfigRequest(request, timeout=30)
        # Nobody called and no warm-up record was run meanwhile.
        assert {metric.name: metric.int64_value_increase for metric in response.metric} == dict.fromkeys(
            names, 0
        )
        assert response.status.error_code == 0
        assert client.server.metrics.values(names)["/tensorflow/core/graph_runs"] == 1


def test_modules_of_operations_are_imported_before_models(
    embedded: Any, half_plus_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more_ops_of_a_test.py").write_text("imported = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    modules = "json, more_ops_of_a_test"
    with embedded(model_name="m", model_base_path=half_plus_two, op_modules=modules) as client:
        assert sys.modules["more_ops_of_a_test"].imported
        client.predict("m", {"x": [0.0]})
    with (
        pytest.raises(StartError, match=r"--op_modules: no\.such_ops cannot be imported"),
        embedded(model_name="m", model_base_path=half_plus_two, op_modules="no.such_ops"),
    ):
        pass
