"""--enable_batching: TensorFlow's scheduler, with the real server's parameters and texts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from server_client import failure
from server_models import copy_version

from serving.server import StartError
from serving.server.errors import ServingError
from serving.server.tf_batching import BatchingParameters, read_parameters

PARAMETERS = """
max_batch_size { value: 8 }
batch_timeout_micros { value: 20000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 4
allowed_batch_sizes: 8
"""


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "batching.config"
    path.write_text(PARAMETERS)
    return path


def test_many_callers_get_their_own_rows(serve: Any, half_plus_two: Path, parameters: Path) -> None:
    flags = {"model_name": "m", "model_base_path": half_plus_two, "grpc_max_threads": 16}
    with serve(**flags, enable_batching=True, batching_parameters_file=parameters) as client:
        # Compile the queue first: the first call builds it.
        assert client.value("m", {"x": [1.0]}) == [2.5]

        def ask(number: int) -> bool:
            rows = [float(number)] * (number % 3 + 1)
            return client.value("m", {"x": rows}) == [number / 2 + 2] * len(rows)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(60)))
        keys = client.predict("m", {"key": [b"a", b"b"]}, signature="look_up").outputs
        assert list(keys["index"].int64_val) == [1, 2]
        assert list(keys["echo"].string_val) == [b"a", b"b"]
        regression = client.infer("Regress", "m", [{"x": 2.0}], signature="regress")
        assert [r.value for r in regression.result.regressions] == [3.0]


def test_refusals(serve: Any, half_plus_two: Path, parameters: Path) -> None:
    flags = {"model_name": "m", "model_base_path": half_plus_two}
    with serve(**flags, enable_batching=True, batching_parameters_file=parameters) as client:
        code, text = failure(client.predict, "m", {"x": [0.0] * 9})
        assert code == "INVALID_ARGUMENT"
        assert "Task size 9 is larger than maximum input batch size 8" in text
        assert failure(client.predict, "m", {"x": 1.0}, signature="scalar") == (
            "INVALID_ARGUMENT",
            "Batching Run() input tensors must have at least one dimension",
        )
        assert failure(client.predict, "m", {"x": [1.0], "w": [1.0, 2.0]}, signature="two") == (
            "INVALID_ARGUMENT",
            "Batching Run() input tensors must have equal 0th-dimension size",
        )
        code, text = failure(client.predict, "m", {"x": [-1.0]}, signature="checked")
        assert code == "INVALID_ARGUMENT"
        assert "negative input" in text
        assert "batch-error" not in text


def test_parameters_of_each_model(embedded: Any, half_plus_two: Path, tmp_path: Path) -> None:
    version = copy_version(half_plus_two / "1", tmp_path / "m", 1)
    (version / "batching_params.pbtxt").write_text(PARAMETERS)
    flags = {"enable_batching": True, "enable_per_model_batching_parameters": True, "model_name": "m"}
    with embedded(**flags, model_base_path=tmp_path / "m") as client:
        assert "Task size 9" in failure(client.predict, "m", {"x": [0.0] * 9})[1]
    with embedded(**flags, model_base_path=half_plus_two) as client:
        assert len(client.value("m", {"x": [0.0] * 9})) == 9


def test_a_parameters_file_needs_the_flag(embedded: Any, half_plus_two: Path, parameters: Path) -> None:
    flags = {"model_name": "m", "model_base_path": half_plus_two}
    with (
        pytest.raises(StartError, match=r"without setting server_options\.enable_batching"),
        embedded(**flags, batching_parameters_file=parameters),
    ):
        pass


def test_reading_parameters(parameters: Path) -> None:
    assert read_parameters(parameters) == BatchingParameters(8, 20000, 100, 2, (4, 8))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "max_batch_size { value: 9 } allowed_batch_sizes: 8",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 8; expected 9",
        ),
        ("allowed_batch_sizes: 8 allowed_batch_sizes: 4", "monotonically increasing"),
        ("max_batch_size: 8", "Invalid protobuf file"),
        ("pad_variable_length_inputs: true", "not supported here"),
    ],
)
def test_parameters_that_do_not_fit(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "b.config"
    path.write_text(text)
    with pytest.raises(ServingError, match=expected):
        read_parameters(path)
