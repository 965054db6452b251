"""Faults under load: swaps, broken versions, a full disk, kill -9, a fuzzer, and memory over many requests.

    python benchmarks/serving_faults.py                       # all, with small models: about two minutes
    python benchmarks/serving_faults.py --swaps 30 --megabytes 300 --fuzz 10000 --requests 100000

Each part prints one line with what it measured and fails the run (exit code 1) when its promise does not hold:
no failed or wrong answer during swaps, the old version serving on beside a corrupt one, a restart after
kill -9, no crash and no leak by malformed requests. Loopback only; one server process and a few threads.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import grpc
import numpy as np

from serving.wire import messages as wire
from serving.wire import methods
from serving.wire.tensors import encode_tensor

PORT = 18600


def make_model(version: Path, megabytes: int) -> None:
    """One affine signature, 0.5 x + 1, with ballast of this size in its variables."""
    import tensorflow as tf

    class Affine(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ballast = tf.Variable(np.ones(megabytes * 262_144, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def run(self, x: Any) -> Any:
            return {"y": 0.5 * x + tf.constant(1.0, name="answer")}

    module = Affine()
    tf.saved_model.save(module, str(version), signatures={"serving_default": module.run})


def derive_model(source: Path, version: Path, answer: float) -> None:
    """A model that adds another number: its own graph, the source's variables (linked, to spare the disk)."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, version, copy_function=os.link)
    file = version / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in proto.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.name == "answer":
                node.attr["value"].tensor.float_val[:] = [answer]
    file.unlink()
    file.write_bytes(proto.SerializeToString())


def publish(source: Path, base: Path, number: int) -> None:
    """Links a version under another number, by rename."""
    scratch = base / f"tmp-{number}"
    shutil.copytree(source, scratch, copy_function=os.link)
    scratch.rename(base / str(number))


class Server:
    """The server under test, as a process."""

    def __init__(self, base: Path):
        self._command = [sys.executable, "-m", "twotower", "serve", "--model_name=m", f"--port={PORT}"]
        self._command += [f"--model_base_path={base}", "--max_num_load_retries=0"]
        self.start()

    def start(self) -> None:
        """Starts it and waits until its port is open."""
        self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{PORT}")
        grpc.channel_ready_future(self.channel).result(timeout=120)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.channel.close()
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def call(self, method: methods.Method, request: Any) -> Any:
        """One call with our messages."""
        stub = self.channel.unary_unary(
            method.path, lambda m: m.SerializeToString(), method.response.FromString
        )
        return stub(request, timeout=30)

    def ask(self, x: float) -> tuple[float, int]:
        """(answer, version)."""
        request = wire.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(encode_tensor(np.array([x], np.float32)))
        response = self.call(methods.PREDICT, request)
        return response.outputs["y"].float_val[0], response.model_spec.version.value

    def states(self) -> dict[int, int]:
        """State number by version."""
        request = wire.GetModelStatusRequest()
        request.model_spec.name = "m"
        response = self.call(methods.GET_MODEL_STATUS, request)
        return {entry.version: entry.state for entry in response.model_version_status}

    def memory_mb(self) -> float:
        """Resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the server is gone")


class Load:
    """Callers in the background that check every answer: version v answers 0.5 x + v."""

    def __init__(self, server: Server, callers: int):
        self._server = server
        self._stop = threading.Event()
        self.latencies: list[tuple[float, float]] = []
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(callers)]

    def _run(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._stop.is_set():
            x = float(rng.randrange(1000))
            begin = time.perf_counter()
            try:
                answer, version = self._server.ask(x)
            except grpc.RpcError as error:
                self.faults.append(f"{error.code().name}: {error.details()}")
                continue
            self.latencies.append((begin, time.perf_counter() - begin))
            if answer != 0.5 * x + version:
                self.faults.append(f"wrong: version {version} answered {answer} for {x}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def p99_ms(self, begin: float, end: float) -> float:
        """The 99th percentile of calls that began in this time."""
        chosen = [latency for at, latency in self.latencies if begin <= at < end]
        return float(np.percentile(chosen, 99) * 1e3)


def wait_for(condition: Any, seconds: float = 120) -> None:
    """Waits for a condition; fails loudly when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise click.ClickException("what the test waited for did not happen")
        time.sleep(0.05)


def check(holds: bool, text: str) -> bool:
    """Prints one result line."""
    click.echo(f"{'ok  ' if holds else 'FAIL'} {text}")
    return holds


def swaps(server: Server, base: Path, sources: dict[int, Path], count: int, callers: int) -> bool:
    """Swaps versions under load; every answer must be right and come in time."""
    with Load(server, callers) as load:
        quiet = time.perf_counter()
        time.sleep(5)
        begin = time.perf_counter()
        for number in range(2, count + 2):
            publish(sources[number], base, number)
            wait_for(lambda number=number: server.states().get(number) == 30)
            wait_for(lambda number=number: server.states().get(number - 1) == 50)
            shutil.rmtree(base / str(number - 1))
        end = time.perf_counter()
    before, during = load.p99_ms(quiet, begin), load.p99_ms(begin, end)
    ratio = during / before
    text = f"{count} swaps under {callers} callers: {len(load.latencies)} answers, {len(load.faults)} faults"
    right = check(not load.faults, f"{text} {load.faults[:2]}")
    text = f"p99 quiet {before:.1f} ms, during swaps {during:.1f} ms: x{ratio:.2f} (goal: under 3)"
    return check(ratio < 3, text) and right


def corrupt(server: Server, base: Path, newest: int) -> bool:
    """A corrupt newer version ends with an error while the old one serves on."""
    scratch = base / "tmp-bad"
    shutil.copytree(base / str(newest), scratch)
    for shard in (scratch / "variables").glob("variables.data*"):
        shard.unlink()
        shard.write_bytes(b"garbage")
    scratch.rename(base / str(newest + 1))
    wait_for(lambda: server.states().get(newest + 1) == 50)
    holds = server.ask(2.0) == (1.0 + newest, newest)
    shutil.rmtree(base / str(newest + 1))
    return check(holds, "a corrupt new version is refused, the old one serves on")


def full_disk(server: Server, base: Path, newest: int) -> bool:
    """A copy that a full disk cut off is not taken up, and polling goes on."""
    half = base / str(newest + 2)
    half.mkdir()
    (half / "variables").mkdir()
    (half / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
    time.sleep(3)
    holds = server.ask(2.0)[1] == newest and server.process.poll() is None
    shutil.rmtree(half)
    return check(holds, "a copy cut off by a full disk is ignored")


def kill_and_restart(server: Server, newest: int) -> bool:
    """After kill -9 the server starts again on the same port."""
    server.stop(signal.SIGKILL)
    begin = time.monotonic()
    server.start()
    holds = server.ask(2.0)[1] == newest
    return check(holds, f"kill -9 and restart: serving again after {time.monotonic() - begin:.1f} s")


def malformed(rng: random.Random) -> tuple[str, bytes]:
    """A method path and bytes that are broken at the level of bytes, of protobuf or of fields."""
    request = wire.PredictRequest()
    request.model_spec.name = rng.choice(["m", "m", "m", "m", "", "no", "m" * 3000])
    if rng.random() < 0.3:
        request.model_spec.version.value = rng.choice([1, -1, 2**62])
    request.model_spec.signature_name = rng.choice(["", "", "", "serving_default", "zz", "\u0000"])
    proto = request.inputs[rng.choice(["x", "x", "x", "x", "y", ""])]
    proto.dtype = rng.choice([1, 1, 1, rng.randrange(0, 35)])
    for _ in range(rng.randrange(0, 6)):
        proto.tensor_shape.dim.add(size=rng.choice([0, 1, 2, -1, 2**31, 2**62]))
    if rng.random() < 0.5:
        proto.tensor_content = rng.randbytes(rng.randrange(0, 64))
    proto.float_val.extend([rng.random()] * rng.randrange(0, 4))
    body = bytearray(request.SerializeToString())
    if rng.random() < 0.2 and body:
        for _ in range(rng.randrange(1, 8)):
            body[rng.randrange(len(body))] = rng.randrange(256)
    if rng.random() < 0.1:
        body = bytearray(rng.randbytes(rng.randrange(0, 200)))
    return rng.choice([methods.PREDICT] * 5 + list(methods.ALL[:6])).path, bytes(body)


def fuzz(server: Server, count: int, newest: int) -> bool:
    """Sends malformed requests; the server must answer each and go on."""
    rng = random.Random(11)
    codes: dict[str, int] = {}
    for _ in range(count):
        path, body = malformed(rng)
        try:
            server.channel.unary_unary(path)(body, timeout=30)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        codes[code] = codes.get(code, 0) + 1
    alive = server.process.poll() is None and server.ask(2.0)[1] == newest
    told = all(code not in codes for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
    return check(alive and told, f"{count} malformed requests: {codes}")


def memory(server: Server, count: int) -> bool:
    """Memory after many requests, against memory after the first part of them."""
    for _ in range(count // 5):
        server.ask(1.0)
    before = server.memory_mb()
    for _ in range(count):
        server.ask(1.0)
    after = server.memory_mb()
    growth = after / before - 1
    text = f"memory over {count} requests: {before:.0f} -> {after:.0f} MB, {growth:+.1%} (goal: within 5 %)"
    return check(growth < 0.05, text)


@contextlib.contextmanager
def models(count: int, megabytes: int) -> Iterator[tuple[Path, dict[int, Path]]]:
    """A base path with version 1, and what versions 1 ... count + 1 are made of."""
    with tempfile.TemporaryDirectory() as root:
        base, store = Path(root, "base"), Path(root, "store")
        base.mkdir()
        sources = {}
        for number in range(1, count + 2):
            sources[number] = store / str(number)
            if number == 1:
                make_model(sources[1], megabytes)
            else:
                derive_model(sources[1], sources[number], float(number))
        publish(sources[1], base, 1)
        yield base, sources


@click.command()
@click.option("--swaps", "count", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--megabytes", type=click.IntRange(0, 1000), default=20, show_default=True, help="Of a model.")
@click.option("--callers", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--fuzz", "malformed_count", type=click.IntRange(0, 100_000), default=2000, show_default=True)
@click.option("--requests", type=click.IntRange(0, 1_000_000), default=10_000, show_default=True)
def main(count: int, megabytes: int, callers: int, malformed_count: int, requests: int) -> None:
    """Break things and see what the server does."""
    with models(count, megabytes) as (base, sources):
        gc.collect()
        gc.freeze()  # TensorFlow, imported here to make models, must not pause the callers
        server = Server(base)
        newest = count + 1
        try:
            results = [
                swaps(server, base, sources, count, callers),
                corrupt(server, base, newest),
                full_disk(server, base, newest),
                fuzz(server, malformed_count, newest),
                memory(server, requests),
                kill_and_restart(server, newest),
            ]
        finally:
            code = server.stop()
        results.append(check(code == 0, f"SIGTERM ends with exit code {code}"))
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
