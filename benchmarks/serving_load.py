"""Load test of the embedded server, beside a plain gRPC server with TensorFlow's helpers and an empty echo server.

    python benchmarks/serving_load.py                      # light model: look-up, top-100 of 10,000 x 64
    python benchmarks/serving_load.py --encoder runs/movielens-100k/encoder --texts titles.txt   # text model
    python benchmarks/serving_load.py --model saved_models/movielens-100k   # any model with warm-up records
    python benchmarks/serving_load.py --callers 1 --callers 32 --seconds 3 --rounds 5 --json out.json

Every server is a process of its own on loopback and all are up at once; rounds alternate over them, and the
table shows medians over the rounds. The floor is the bare signature call in a loop in this process. The
client sends ready bytes and does not read the answer, so that it costs as little as it can of the shared cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import grpc
import grpc.aio
import numpy as np
from _serving_models import light_requests, make_light_model, make_text_model, string_requests
from rich.console import Console
from rich.table import Table

PREDICT = "/tensorflow.serving.PredictionService/Predict"
EMBEDDED = ("embedded", "embedded-batching")
SERVERS = ("echo", "naive", *EMBEDDED)


def warmup_requests(version: Path, name: str) -> list[bytes]:
    """The one-row requests of a model's own warm-up file for its default signature."""
    import tensorflow as tf

    from serving.wire.messages import PredictionLog

    result = []
    for record in tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests")):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        sizes = {t.tensor_shape.dim[0].size for t in request.inputs.values()}
        if request.model_spec.signature_name in ("", "serving_default") and sizes == {1}:
            request.model_spec.Clear()
            request.model_spec.name = name
            result.append(request.SerializeToString())
    if not result:
        raise click.ClickException(f"{version} has no one-row warm-up record for serving_default.")
    return result


def serve_echo(port: int, answer: bytes) -> None:
    """Answers every Predict with the same bytes: what gRPC itself costs."""

    async def main() -> None:
        async def handle(request: bytes, context: Any) -> bytes:
            return answer

        server = grpc.aio.server()
        handlers = {"Predict": grpc.unary_unary_rpc_method_handler(handle)}
        service = "tensorflow.serving.PredictionService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(main())


def serve_naive(port: int, version: Path) -> None:
    """What one writes first: 32 threads, tf.make_ndarray, the signature function, tf.make_tensor_proto."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    model = tf.saved_model.load(str(version))
    function = model.signatures["serving_default"]

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            inputs = {name: tf.constant(tf.make_ndarray(t)) for name, t in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for name, tensor in function(**inputs).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
            return response

    server = grpc.server(ThreadPoolExecutor(32))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def start(kind: str, port: int, base: Path, answer: Path) -> subprocess.Popen[bytes]:
    """Starts one server as a process and waits until its port is open."""
    if kind in EMBEDDED:
        command = [sys.executable, "-m", "twotower", "serve", "--model_name=m", f"--port={port}"]
        command += [f"--model_base_path={base}", f"--micro_batching={kind == 'embedded-batching'}"]
    else:
        command = [sys.executable, __file__, "--run-server", kind, "--port", str(port)]
        command += ["--model", str(base), "--answer", str(answer)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=120)
    return process


def run_server(kind: str, port: int, base: Path, answer: Path) -> None:
    """The body of a server process."""
    if kind == "echo":
        serve_echo(port, answer.read_bytes())
    else:
        serve_naive(port, newest(base))


def newest(base: Path) -> Path:
    """The highest version directory."""
    return max((p for p in base.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used: unlike wall time it hardly depends on what else runs here."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(address: str, requests: list[bytes], callers: int, seconds: float) -> tuple[list[float], int]:
    """Calls in a loop from `callers` tasks; returns the latencies in seconds and the number of failures."""
    latencies: list[float] = []
    failures = 0
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(PREDICT)
        await call(requests[0])
        end = time.perf_counter() + seconds

        async def caller(offset: int) -> None:
            nonlocal failures
            i = offset
            while (begin := time.perf_counter()) < end:
                try:
                    await call(requests[i % len(requests)], timeout=30)
                    latencies.append(time.perf_counter() - begin)
                except grpc.RpcError:
                    failures += 1
                i += 1

        await asyncio.gather(*(caller(n) for n in range(callers)))
    return latencies, failures


def floor_us(version: Path, request: bytes, seconds: float) -> float:
    """Microseconds of one bare model call, without any server."""
    from serving.server.model import load_model
    from serving.server.predict import plan
    from serving.wire.messages import PredictRequest

    model = load_model(version)
    call = plan(model.signatures["serving_default"], PredictRequest.FromString(request))
    model.run(call.feeds, call.arrays, call.fetches)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        model.run(call.feeds, call.arrays, call.fetches)
        count += 1
    return (time.perf_counter() - begin) / count * 1e6


def codec_us(version: Path, request: bytes) -> dict[str, float]:
    """Microseconds a request spends in each part of the server outside gRPC and the model."""
    from serving.server.model import load_model
    from serving.server.predict import plan, respond
    from serving.wire.messages import PredictRequest

    signature = (model := load_model(version)).signatures["serving_default"]
    parsed = PredictRequest.FromString(request)
    call = plan(signature, parsed)
    results = model.run(call.feeds, call.arrays, call.fetches)
    response = respond(parsed, signature, 1, call, results)
    parts = {
        "parse": lambda: PredictRequest.FromString(request),
        "check and decode": lambda: plan(signature, parsed),
        "encode": lambda: respond(parsed, signature, 1, call, results),
        "serialize": response.SerializeToString,
    }
    times = {}
    for name, part in parts.items():
        begin = time.perf_counter()
        for _ in range(3000):
            part()
        times[name] = (time.perf_counter() - begin) / 3000 * 1e6
    return times


def measure(
    servers: dict[str, int],
    ports: dict[str, int],
    requests: list[bytes],
    callers: list[int],
    seconds: float,
    rounds: int,
) -> list[dict[str, Any]]:
    """Alternates over servers (name -> process id) and numbers of callers; medians over the rounds."""
    samples: dict[tuple[int, str], list[tuple[float, ...]]] = {}
    for _ in range(rounds):
        for count in callers:
            for server, pid in servers.items():
                before = cpu_seconds(pid)
                latencies, failures = asyncio.run(
                    load(f"127.0.0.1:{ports[server]}", requests, count, seconds)
                )
                p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
                cpu = (cpu_seconds(pid) - before) / len(latencies) * 1e6
                values = (len(latencies) / seconds, p50, p99, cpu, failures)
                samples.setdefault((count, server), []).append(values)
    rows = []
    for (count, server), values in sorted(samples.items()):
        qps, p50, p99, cpu, failures = zip(*values, strict=True)
        rows.append(
            {
                "callers": count,
                "server": server,
                "qps": round(statistics.median(qps), 1),
                "p50_ms": round(statistics.median(p50), 3),
                "p99_ms": round(statistics.median(p99), 3),
                "server_cpu_us": round(statistics.median(cpu)),
                "failures": sum(failures),
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Prints the table, with the ratio of throughput to the naive server."""
    naive = {row["callers"]: row["qps"] for row in rows if row["server"] == "naive"}
    table = Table("callers", "server", "QPS", "p50 ms", "p99 ms", "CPU us", "failures", "QPS / naive")
    for row in rows:
        base = naive.get(row["callers"])
        ratio = f"{row['qps'] / base:.2f}" if base else "-"
        table.add_row(*(str(row[name]) for name in row), ratio)
    Console().print(table)


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Base path of a model with warm-up records.")
@click.option(
    "--encoder",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of a BERT: take a model that encodes texts with it.",
)
@click.option("--texts", type=click.File(), help="What that model is asked for, a text a line.")
@click.option("--callers", type=int, multiple=True, default=(1, 8, 32, 128), show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60), default=3.0, show_default=True, help="Of one round."
)
@click.option("--rounds", type=click.IntRange(1, 20), default=5, show_default=True)
@click.option("--server", "servers", multiple=True, type=click.Choice(SERVERS), default=SERVERS)
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write the rows here too.")
@click.option("--run-server", hidden=True)
@click.option("--port", type=int, hidden=True)
@click.option("--answer", type=click.Path(path_type=Path), hidden=True)
def main(
    model: Path | None,
    encoder: Path | None,
    texts: TextIO | None,
    callers: tuple[int, ...],
    seconds: float,
    rounds: int,
    servers: tuple[str, ...],
    output: Path | None,
    **hidden: Any,
) -> None:
    """Measure throughput and latency of the servers."""
    if hidden.get("run_server"):
        assert model is not None
        run_server(hidden["run_server"], hidden["port"], model, hidden["answer"])
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = model or Path(scratch, "made")
        requests = make(base, model is not None, encoder, texts)
        version = newest(base)
        answer = Path(scratch, "answer")
        write_answer(version, requests[0], answer)
        print(f"bare model call: {floor_us(version, requests[0], seconds):.0f} us")
        print("parts of a request (us):", {k: round(v, 1) for k, v in codec_us(version, requests[0]).items()})
        ports = {server: 18500 + i for i, server in enumerate(servers)}
        processes = [start(server, ports[server], base, answer) for server in servers]
        try:
            pids = {name: process.pid for name, process in zip(servers, processes, strict=True)}
            rows = measure(pids, ports, requests, list(callers), seconds, rounds)
        finally:
            for process in processes:
                process.terminate()
    show(rows)
    if output is not None:
        output.write_text(json.dumps(rows, indent=2) + "\n")


def make(base: Path, is_there: bool, encoder: Path | None, texts: TextIO | None) -> list[bytes]:
    """Makes the model, unless it is there, and requests for it."""
    if is_there:
        return warmup_requests(newest(base), "m")
    if encoder is None:
        make_light_model(base)
        return light_requests("m")
    lines = texts.read().splitlines() if texts is not None else []
    if not lines:
        raise click.UsageError("--encoder needs --texts, a file with a text a line.")
    make_text_model(base, encoder)
    order = np.random.default_rng(7).permutation(len(lines))
    return string_requests("m", "text", [lines[index] for index in order])


def write_answer(version: Path, request: bytes, path: Path) -> None:
    """The bytes that the echo server sends: as large as a real answer."""
    from serving.server.model import load_model
    from serving.server.predict import plan, respond
    from serving.wire.messages import PredictRequest

    parsed = PredictRequest.FromString(request)
    signature = (model := load_model(version)).signatures["serving_default"]
    call = plan(signature, parsed)
    results = model.run(call.feeds, call.arrays, call.fetches)
    path.write_bytes(respond(parsed, signature, 1, call, results).SerializeToString())


if __name__ == "__main__":
    main()
