"""Stopping with calls under way, deadlines, and callers that go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import wait_until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_client import Client, failure, predict_request

from serving.server import EmbeddedServer


class Counting(tf.Module):
    """Counts up in steps of one: how long a call takes is up to the caller."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
    def count(self, n: Any) -> Any:
        total = tf.while_loop(lambda i: i < n[0], lambda i: [i + 1], [tf.constant(0, tf.int64)])
        return {"y": total[0][tf.newaxis]}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("counting")
    module = Counting()
    tf.saved_model.save(module, str(base / "1"), signatures={"serving_default": module.count})
    return base


@pytest.fixture(params=["threads", "micro-batching"])
def server(request: Any, counting: Path) -> Iterator[EmbeddedServer]:
    micro = request.param == "micro-batching"
    server = EmbeddedServer(model_name="m", model_base_path=counting, port=0, micro_batching=micro)
    server.start()
    yield server
    server.stop()


def steps(number: int) -> Any:
    return np.array([number], np.int64)


LONG = 100_000  # steps: some tenths of a second


def test_running_calls_finish_and_health_says_so(server: EmbeddedServer) -> None:
    client = Client(server.address)
    health = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    call = client.prediction.Predict.future(predict_request("m", {"n": steps(LONG)}), timeout=60)
    runtime = server.manager.acquire("m")  # one of ours; the call's own follow
    wait_until(lambda: runtime.users > 1)
    runtime.release()
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert call.result().outputs["y"].int64_val[0] == LONG
    stopping.join(timeout=30)
    assert not stopping.is_alive()
    assert failure(client.predict, "m", {"n": steps(1)}, timeout=2)[0] in ("UNAVAILABLE", "CANCELLED")
    client.close()


def test_a_deadline_is_kept_and_the_server_goes_on(server: EmbeddedServer) -> None:
    client = Client(server.address)
    client.value("m", {"n": steps(1)})
    begin = time.monotonic()
    assert failure(client.predict, "m", {"n": steps(LONG)}, timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - begin < 0.2 + 1
    assert client.value("m", {"n": steps(3)}) == [3]
    client.close()


def test_callers_that_go_away_leave_nothing_behind(server: EmbeddedServer) -> None:
    client = Client(server.address)
    for _ in range(5):
        client.prediction.Predict.future(predict_request("m", {"n": steps(LONG // 20)}), timeout=60).cancel()
    assert client.value("m", {"n": steps(3)}) == [3]
    held = server.manager.acquire("m")
    wait_until(lambda: held.users == 1)
    held.release()
    client.close()
