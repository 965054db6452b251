"""--enable_batching: TensorFlow's scheduler, with the real server's parameters and texts."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import wait_until
from server_client import failure, predict_request
from server_models import copy_version

from serving.server import StartError
from serving.server.batch_arrays import merge, split
from serving.server.batching_parameters import BatchingParameters, read_parameters
from serving.server.call import make_call
from serving.server.deadline import set_deadline
from serving.server.errors import ServingError
from serving.server.metrics import BatchingMetrics
from serving.server.model import load_model
from serving.server.servable import Servable
from serving.server.tf_batching import TfBatchScheduler

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
        assert text == "Task size 9 is larger than maximum input batch size 8"
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
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } allowed_batch_sizes: 9",
            "must be less than or equal to max_batch_size; last entry was 9; expected 8",
        ),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 4 } allowed_batch_sizes: 8",
            "must be equal to max_execution_batch_size; last entry was 8; expected 4",
        ),
    ],
)
def test_parameters_that_do_not_fit(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "b.config"
    path.write_text(text)
    with pytest.raises(ServingError, match=expected):
        read_parameters(path)


def _file(path: Path, text: str) -> Path:
    file = path / "parameters.config"
    file.write_text(text)
    return file


# A batch leaves when it has two rows; the timeout is only there to end a test that fails.
PAIRS = """
max_batch_size { value: 2 }
batch_timeout_micros { value: 20000000 }
num_batch_threads { value: 1 }
"""


def _together(client: Any, *requests: Any) -> list[Any]:
    """The answers, or (code, details), of calls that are under way at the same time."""
    futures = [client.prediction.Predict.future(request, timeout=30) for request in requests]
    return [future.result() if future.exception() is None else failure(future.result) for future in futures]


def test_inner_sizes_are_padded_with_the_first_element_if_told(
    serve: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    flags = {"model_name": "m", "model_base_path": half_plus_two, "enable_batching": True}
    narrow = predict_request("m", {"x": [[1.0, 2.0]]}, signature="top")
    wide = predict_request("m", {"x": [[5.0, 6.0, 7.0]]}, signature="top")
    padding = _file(tmp_path, PAIRS + "pad_variable_length_inputs: true")
    with serve(**flags, batching_parameters_file=padding) as client:
        one, two = _together(client, narrow, wide)
        assert list(one.outputs["values"].float_val) == [2.0, 1.0]  # of 1, 2 and the padding, 1
        assert list(two.outputs["values"].float_val) == [7.0, 6.0]
    with serve(**flags, batching_parameters_file=_file(tmp_path, PAIRS)) as client:
        for code, text in _together(client, narrow, wide):
            assert code == "FAILED_PRECONDITION"
            assert text.startswith("Tensors with name '")
            assert "from different tasks have different shapes and padding is turned off." in text


def test_one_bad_member_fails_its_whole_batch(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    flags = {"model_name": "m", "model_base_path": half_plus_two, "enable_batching": True}
    with serve(**flags, batching_parameters_file=_file(tmp_path, PAIRS)) as client:
        requests = [predict_request("m", {"x": [x]}, signature="checked") for x in (4.0, -1.0)]
        for code, text in _together(client, *requests):
            assert (code, "negative input" in text) == ("INVALID_ARGUMENT", True)


def test_large_calls_are_split_if_told_and_the_batches_are_counted(
    embedded: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    parameters = """
    max_batch_size { value: 8 }
    max_execution_batch_size { value: 4 }
    enable_large_batch_splitting { value: true }
    allowed_batch_sizes: 2
    allowed_batch_sizes: 4
    thread_pool_name { value: "pool" }
    """
    flags = {"model_name": "m", "model_base_path": half_plus_two, "enable_batching": True}
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with embedded(
        **flags, batching_parameters_file=_file(tmp_path, parameters), monitoring_config_file=monitoring
    ) as client:
        assert client.value("m", {"x": [float(i) for i in range(7)]}) == [i / 2 + 2 for i in range(7)]
        assert (
            "Task size 9 is larger than maximum input batch size 8"
            in failure(client.predict, "m", {"x": [0.0] * 9})[1]
        )
        assert client.value("m", {"x": []}) == []
        text = client.rest("GET", "/monitoring/prometheus/metrics")[1].decode()
    prefix = ":tensorflow:serving:batching_session:"
    # 7 rows ran as 4 and 3, the latter padded to 4.
    for sample in (
        "wrapped_run_count{} 2",
        "input_batch_size_sum{} 16",  # 7, and the 9 that were refused
        "processed_batch_size_sum{} 8",
        'padding_size_sum{execution_batch_size="4"} 1',
        'queuing_latency_count{thread_pool_name="pool"} 2',
    ):
        assert f"{prefix}{sample}\n" in text
    for sample in ("graph_runs{} 3", "direct_session_runs{} 3", "graph_run_time_usecs_histogram_count{} 3"):
        assert f":tensorflow:core:{sample}\n" in text


def test_each_set_of_outputs_has_its_own_queue(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    two = {"signature": "two"}
    rows = [{"x": [float(i)], "w": [1.0]} for i in range(4)]
    flags = {"model_name": "m", "model_base_path": half_plus_two, "enable_batching": True}
    # A queue's batch leaves when it has two rows. In one queue the first two calls would leave together.
    with serve(**flags, batching_parameters_file=_file(tmp_path, PAIRS)) as client:
        requests = [
            predict_request("m", rows[0], **two, output_filter=("sum",)),
            predict_request("m", rows[1], **two, output_filter=("difference",)),
            predict_request("m", rows[2], **two),
        ]
        waiting = [client.prediction.Predict.future(request, timeout=30) for request in requests]
        time.sleep(0.5)
        assert not any(future.done() for future in waiting)
        # The same outputs in another order are the same queue, as are all outputs named one by one.
        fills = [
            predict_request("m", rows[3], **two, output_filter=("sum",)),
            predict_request("m", rows[3], **two, output_filter=("difference",)),
            predict_request("m", rows[3], **two, output_filter=("sum", "difference")),
        ]
        for number, (fill, future) in enumerate(zip(fills, waiting, strict=True)):
            full = client.prediction.Predict(fill, timeout=30)
            assert set(full.outputs) == set(future.result().outputs)
            assert [later.done() for later in waiting[number + 1 :]] == [False] * (2 - number)
        assert list(waiting[0].result().outputs["sum"].float_val) == [1.0]
        assert list(waiting[1].result().outputs["difference"].float_val) == [0.0]
        assert list(waiting[2].result().outputs["sum"].float_val) == [3.0]


def test_a_full_queue_refuses(embedded: Any, half_plus_two: Path, tmp_path: Path) -> None:
    parameters = PAIRS + "max_enqueued_batches { value: 1 }"
    flags = {"model_name": "m", "model_base_path": half_plus_two, "enable_batching": True}
    # One row opens the only batch of the queue, which waits for a second; two rows do not fit in.
    with embedded(**flags, batching_parameters_file=_file(tmp_path, parameters)) as client:
        first = client.prediction.Predict.future(predict_request("m", {"x": [1.0]}), timeout=30)
        wait_until(lambda: bool(client.server.metrics.batching.input_size.lines()))
        time.sleep(0.1)  # from the count to the queue is one step
        assert failure(client.predict, "m", {"x": [1.0, 2.0]}) == (
            "UNAVAILABLE",
            "The batch scheduling queue to which this task was submitted is full; currently 1 batches "
            "enqueued and max_enqueued_batches is 1",
        )
        assert client.value("m", {"x": [2.0]}) == [3.0]  # completes the batch
        assert list(first.result().outputs["y"].float_val) == [2.5]


def test_a_batch_that_nobody_waits_for_is_not_run(half_plus_two: Path) -> None:
    runs: list[float] = []
    model = load_model(half_plus_two / "1", on_run=runs.append)
    scheduler = TfBatchScheduler(BatchingParameters(), 1, BatchingMetrics())
    call = make_call(model.signatures["serving_default"], {"x": np.array([1.0], np.float32)})

    async def ask(seconds: float | None) -> Any:
        set_deadline(seconds)
        return await scheduler.run(Servable("m", 1, model), model, call)

    with pytest.raises(ServingError) as caught:
        asyncio.run(ask(0.0))
    assert str(caught.value) == ("RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue")
    assert not runs
    assert asyncio.run(ask(60.0))[0].tolist() == [2.5]
    assert len(runs) == 1
    scheduler.close()


def test_a_batch_is_padded_with_the_first_row_of_its_last_member() -> None:
    parts = [[np.array([1.0, 2.0])], [np.array([3.0, 4.0])]]
    assert [a.tolist() for a in merge(["x"], parts, 6, False)] == [[1, 2, 3, 4, 3, 3]]
    words = [[np.array([[b"a", b"b"]], object)], [np.array([[b"c"]], object)]]
    assert merge(["w"], words, 2, True)[0].tolist() == [[b"a", b"b"], [b"c", b"c"]]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (np.float32(1.0), "Batched output tensor has 0 dimensions"),
        (
            np.zeros(3),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
            "input tensors",
        ),
    ],
)
def test_outputs_that_are_not_the_batch(output: Any, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        split([np.asarray(output)], [1, 1], 2)
    assert str(caught.value) == f"FAILED_PRECONDITION: {text}"


def test_warm_up_records_obey_the_limits_of_batching(
    embedded: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    version = copy_version(half_plus_two / "1", tmp_path / "m", 1)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request("m", {"x": [0.0] * 3}))
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    flags = {"model_name": "m", "model_base_path": tmp_path / "m", "enable_batching": True}
    with (
        pytest.raises(StartError, match="Task size 3 is larger than maximum input batch size 2"),
        embedded(**flags, batching_parameters_file=_file(tmp_path, PAIRS)),
    ):
        pass
