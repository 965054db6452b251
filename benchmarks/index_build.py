"""Builds, saves, loads and asks an index of made-up vectors: seconds, memory, recall.

    python benchmarks/index_build.py                                    # 20,000 items
    python benchmarks/index_build.py --items 1000000 --dims 128 --steps build
    python benchmarks/index_build.py --items 10000000 --steps export --steps serve --kind exact --vectors float32
    python benchmarks/index_build.py --items 10000000 --steps export --steps serve --vectors bfloat16 --table int8

Each step is a process of its own, so that its peak memory is its own: `build` makes the inverted file from a
memory-mapped file of vectors; `export` builds, measures and saves a whole index with ids as a SavedModel; `serve` has
the embedded server load it and asks `retrieve` (single queries and batches of 32) and `similar_items` over gRPC.
Peak memory counts the pages of the file of vectors that the system keeps, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np

K, QUERIES, BLOCK = 100, 256, 262_144


def write_vectors(file: Path, items: int, dims: int) -> None:
    """Random clusters, in which the first directions vary most, as a .npy file."""
    rng = np.random.default_rng(0)
    spread = np.linspace(2, 0.2, dims, dtype=np.float32)
    centres = rng.normal(size=(max(1, items // 500), dims)).astype(np.float32) * spread
    unfinished = file.with_suffix(".part")
    vectors = np.lib.format.open_memmap(unfinished, "w+", np.float32, (items, dims))
    for start in range(0, items, BLOCK):
        part = vectors[start : start + BLOCK]
        noise = rng.standard_normal(part.shape, np.float32) * spread / 2
        part[:] = centres[rng.integers(0, len(centres), len(part))] + noise
    vectors.flush()
    unfinished.rename(file)


def queries_of(file: Path) -> Any:
    """float32 [256, D] means of two items."""
    vectors = np.load(file, mmap_mode="r")
    rows = np.random.default_rng(1).integers(0, len(vectors), (QUERIES, 2))
    return np.asarray(vectors[rows]).mean(axis=1)


def build(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The inverted file alone."""
    from trainer.indexes.choose import default_partitions
    from trainer.indexes.inverted_file import build

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    partitions = settings["partitions"] or default_partitions(len(vectors))
    began = time.perf_counter()
    parts = build(vectors, partitions, settings["table"])
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "megabytes": sum(part.nbytes for part in parts.values()) / 2**20}


def export(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A whole index as a SavedModel."""
    from trainer.index import ItemIndex
    from trainer.indexes.choose import build_search
    from trainer.indexes.settings import IndexConfig
    from trainer.keras_compat import tf
    from trainer.rules.permission import Permission

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    began = time.perf_counter()
    config = IndexConfig(min_recall=0, **settings)
    search = build_search(vectors, lambda: queries_of(folder / "vectors.npy"), K, config)
    built = time.perf_counter() - began
    ids = [f"item-{number}" for number in range(len(vectors))]
    empty: list[tuple[str, ...]] = [()] * len(ids)
    index = ItemIndex(ids, search.table, np.zeros(len(ids), np.int64), empty, finder=search.finder)
    module = tf.Module()
    module.index = index

    @tf.function(input_signature=[tf.TensorSpec([None, vectors.shape[1]], tf.float32, name="queries")])
    def retrieve(queries: Any) -> dict[str, Any]:
        rows = tf.shape(queries)[:1]
        nothing = Permission(tf.fill(tf.concat([rows, [1]], axis=0), -1))
        scores, found = index.search(queries, tf.ones(rows, tf.bool), nothing, K)
        return {"item_id": index.ids_of(found, scores), "score": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="item_id")])
    def similar_items(item_id: Any) -> dict[str, Any]:
        scores, found = index.best(index.cosines(index.rows_of(item_id)), K)
        return {"item_id": index.ids_of(found, scores), "score": scores}

    signatures = {"retrieve": retrieve, "similar_items": similar_items}
    tf.saved_model.save(module, str(folder / "model" / "1"), signatures=signatures)
    files = [file for file in (folder / "model").rglob("*") if file.is_file()]
    largest = max(variable.numpy().nbytes for variable in index.vectors.variables)
    return {
        "seconds": time.perf_counter() - began,
        "of which build and measure": built,
        "megabytes": sum(file.stat().st_size for file in files) / 2**20,
        "megabytes of the largest variable": largest / 2**20,
        **search.facts,
    }


def serve(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The embedded server loads it, and a client asks it."""
    del settings
    from serving.client import RecommenderClient

    queries = queries_of(folder / "vectors.npy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "twotower", "serve", "--model_name=m", f"--port={port}"]
    began = time.perf_counter()
    server = subprocess.Popen([*command, f"--model_base_path={folder / 'model'}"], stderr=subprocess.DEVNULL)
    try:
        with RecommenderClient(f"127.0.0.1:{port}", "m") as client:

            def milliseconds(signature: str, inputs: list[dict[str, Any]]) -> float:
                times = []
                for each in inputs:
                    before = time.perf_counter()
                    answer = client.predict(each, signature=signature, deadline=120.0)
                    times.append(1e3 * (time.perf_counter() - before))
                    assert len(set(np.asarray(answer["item_id"])[0].tolist())) == K
                return statistics.median(times[1:])

            client.wait_until_ready(500.0)
            found: dict[str, Any] = {"seconds until it answers": time.perf_counter() - began}
            for batch in (1, 32):
                parts = [
                    queries[start : start + batch] for start in range(0, len(queries) - batch + 1, batch)
                ]
                found[f"ms of retrieve for {batch}"] = milliseconds(
                    "retrieve", [{"queries": part} for part in parts[:64]]
                )
            ids = [{"item_id": [f"item-{number}"]} for number in range(9)]
            found["ms of similar_items"] = milliseconds("similar_items", ids)
        status = Path(f"/proc/{server.pid}/status").read_text()
        used = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if " kB" in line}
        return found | {"GiB of the server": used["VmRSS"] / 2**20, "at most": used["VmHWM"] / 2**20}
    finally:
        server.terminate()
        server.wait()


STEPS = {"build": build, "export": export, "serve": serve}


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.option("--items", default=20_000, show_default=True)
@click.option("--dims", default=64, show_default=True)
@click.option(
    "--kind", default="inverted_file", show_default=True, type=click.Choice(["exact", "inverted_file"])
)
@click.option("--vectors", default="float32", show_default=True, help="How the exact table keeps vectors.")
@click.option("--table", default="bfloat16", show_default=True, help="How the inverted file keeps vectors.")
@click.option("--partitions", type=int, help="Of the inverted file.  [default: as an export chooses]")
@click.option(
    "--steps", multiple=True, type=click.Choice(list(STEPS)), default=tuple(STEPS), show_default=True
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where vectors and model are put and stay; temporary by default.",
)
@click.option("--step", type=click.Choice(list(STEPS)), hidden=True)
def main(
    items: int, dims: int, steps: tuple[str, ...], folder: Path | None, step: str | None, **settings: Any
) -> None:
    if step is not None and folder is not None:
        result = STEPS[step](folder, settings)
        result["peak GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(result))
        return
    with contextlib.ExitStack() as stack:
        scratch = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (scratch / "vectors.npy").exists():
            scratch.mkdir(parents=True, exist_ok=True)
            write_vectors(scratch / "vectors.npy", items, dims)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        shown = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
        print(f"{items:,} x {dims}, {shown}; {os.cpu_count()} cores, load {load}", flush=True)
        given = [f"--{name}={value}" for name, value in settings.items() if value]
        for name in steps:
            command = [sys.executable, __file__, "--step", name, "--folder", str(scratch), *given]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise click.ClickException(f"{name}: {done.stderr[-2000:]}")
            found = json.loads(done.stdout.splitlines()[-1])
            parts = (
                f"{key} {value:,.2f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in found.items()
            )
            print(f"{name}: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
