"""Ways to find the best 100 of a million items in TensorFlow ops, beside each other: what was tried, and what it takes.

    python benchmarks/retrieval.py --texts-in DIR --movielens DIR --keep DIR --items 1000000    # makes the vectors
    python benchmarks/retrieval_ways.py --data DIR/1000000x64 --group exact-1
    python benchmarks/retrieval_ways.py                                                         # made-up vectors

All ways of a group take turns, `--rounds` times; the figures are medians, in brackets the least. "x" is how many times
as fast as TFRS BruteForce (one product, one top-k) in the median. The share of the true list that a way finds stands
beside it; the ways of the exact groups must find all of it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np
from _retrieval_texts import clustered_data

from trainer.indexes.inverted_file import build
from trainer.keras_compat import tf
from trainer.top_k import exact_top_k

K, CANDIDATES = 100, 400
LOWEST = np.float32(-np.inf)
Way = Callable[[Any], tuple[Any, Any]]


def one_table(vectors: Any) -> dict[str, Way]:
    """The base of all ratios, and the repository's way for small catalogues."""
    return {
        "one product, one top-k": lambda q: tuple(tf.math.top_k(tf.matmul(q, vectors, transpose_b=True), K)),
        "one product, top-k in two stages": lambda q: exact_top_k(tf.matmul(q, vectors, transpose_b=True), K),
    }


def exact_for_one(vectors: Any) -> dict[str, Way]:
    """One query: parts of the items side by side, so that several cores read."""
    ways = one_table(vectors)
    for parts in (2, 4, 8):
        for chunk in (16, 64):
            ways[f"{parts} parts side by side, maxima of {chunk}"] = lambda q, parts=parts, chunk=chunk: (
                _side_by_side(vectors, q, parts, chunk, _product)
            )
    codes = np.asarray(vectors).astype(tf.bfloat16.as_numpy_dtype)
    packed = tf.Variable(codes.reshape(len(codes), -1).view(np.int32), trainable=False)
    ways["8 parts, pairs of bfloat16 in one word, maxima of 64"] = lambda q: _side_by_side(
        tf.convert_to_tensor(packed), q, 8, 64, _packed_product
    )
    rounded = tf.Variable(codes, trainable=False)
    ways["8 parts, bfloat16 cast, maxima of 64"] = lambda q: _side_by_side(
        tf.convert_to_tensor(rounded), q, 8, 64, lambda part, q: _product(tf.cast(part, tf.float32), q)
    )
    return ways


def _product(part: Any, query: Any) -> Any:
    return tf.linalg.matvec(part, query)


def _packed_product(words: Any, query: Any) -> Any:
    """Of a pair, the second number is nearly the word read as float32; the first is moved into its place."""
    second = tf.linalg.matvec(tf.bitcast(words, tf.float32), query[1::2])
    return second + tf.linalg.matvec(tf.bitcast(words * 65536, tf.float32), query[::2])


def _side_by_side(vectors: Any, queries: Any, parts: int, chunk: int, product: Any) -> tuple[Any, Any]:
    size = tf.shape(vectors)[0] // parts // 8 * 8
    values, rows = [], []
    for part in range(parts):
        stop = (part + 1) * size if part < parts - 1 else None
        scores = product(vectors[part * size : stop], queries[0])
        padded = tf.pad(scores, [[0, -tf.shape(scores)[0] % chunk]], constant_values=LOWEST)
        maxima = tf.reduce_max(tf.reshape(padded, [chunk, -1]), axis=0)
        width = tf.shape(maxima)[0]
        best = tf.math.top_k(maxima, K, sorted=False).indices
        places = tf.reshape(best[:, tf.newaxis] + width * tf.range(chunk), [-1])
        top = tf.math.top_k(tf.gather(padded, places), K)
        values.append(top.values)
        rows.append(tf.gather(places, top.indices) + part * size)
    top = tf.math.top_k(tf.concat(values, 0), K)
    return top.values[tf.newaxis], tf.gather(tf.concat(rows, 0), top.indices)[tf.newaxis]


def exact_for_many(vectors: Any) -> dict[str, Way]:
    """Many queries: blocks of items, maxima of chunks, and the best chunks once more."""
    ways = one_table(vectors)
    for block in (65_536, 16_384, 8_192, 4_096):
        for chunk in (32, 16, 8):
            if block == 4_096 and chunk != 16:
                continue
            ways[f"blocks of {block}, maxima of {chunk}"] = lambda q, block=block, chunk=chunk: _blocks(
                vectors, q, block, chunk, 1
            )
    ways["blocks of 8192, maxima of 16, query by query"] = lambda q: _blocks(
        vectors, q, 8_192, 16, 1, by_row=True
    )
    ways["blocks of 8192, maxima of 16, two side by side"] = lambda q: _blocks(vectors, q, 8_192, 16, 2)
    return ways


def _blocks(
    vectors: Any, queries: Any, size: int, chunk: int, parallel: int, by_row: bool = False
) -> tuple[Any, Any]:
    count, batch = tf.shape(vectors)[0], tf.shape(queries)[0]

    def block(start: Any, found: Any) -> Any:
        scores = tf.matmul(vectors[start : start + size], queries, transpose_b=True)
        padded = tf.pad(scores, [[0, -tf.shape(scores)[0] % chunk], [0, 0]], constant_values=LOWEST)
        maxima = tf.reduce_max(tf.reshape(padded, [-1, chunk, batch]), axis=1)
        return start + size, found.write(start // size, maxima)

    found = tf.TensorArray(tf.float32, -(-count // size), infer_shape=False, element_shape=[None, None])
    _, found = tf.while_loop(
        lambda start, _: start < count, block, (tf.constant(0), found), parallel_iterations=parallel
    )
    chunks = tf.sort(exact_top_k(tf.transpose(found.concat()), K)[1], axis=1)
    rows = tf.minimum(
        tf.reshape(chunks[:, :, tf.newaxis] * chunk + tf.range(chunk), [-1, K * chunk]), count - 1
    )

    def best(given: Any) -> Any:
        top = tf.math.top_k(tf.linalg.matvec(tf.gather(vectors, given[1]), given[0]), K)
        return top.values, tf.gather(given[1], top.indices)

    if by_row:
        return tuple(tf.map_fn(best, (queries, rows), fn_output_signature=(tf.float32, tf.int32)))
    top = tf.math.top_k(tf.linalg.matvec(tf.gather(vectors, rows), queries), K)
    return top.values, tf.gather(rows, top.indices, batch_dims=1)


def inverted_files(
    vectors: Any, folder: Path | None, truth: Any, asked: Any, target: float, counts: tuple[int, ...]
) -> dict[str, Way]:
    """One query and an inverted file: how the probed partitions are read. Probes are the fewest that find `target`."""
    ways, plain = dict(list(one_table(vectors).items())[:1]), np.asarray(vectors)
    for partitions in counts or (round(len(plain) ** 0.5), round(2 * len(plain) ** 0.5)):
        parts = _partitions(plain, partitions, folder)
        kept = {name: tf.Variable(tf.constant(part), trainable=False) for name, part in parts.items()}
        for alpha in (0.0, 1.5, 4.0):
            probes = _fewest(plain, parts, truth, asked, target, alpha)
            readers = _READERS if alpha == 0 else {name: _READERS[name] for name in _WITH_SPREAD}
            for name, reader in readers.items():
                if name == "slices" and probes > _MOST_SLICES:
                    continue
                spread = f", reach {alpha}" if alpha else ""
                ways[f"{probes} of {partitions}, {name}{spread}"] = _inverted(kept, probes, alpha, reader)
    return ways


def _partitions(vectors: Any, count: int, folder: Path | None) -> dict[str, Any]:
    file = folder and folder / f"partitions-{count}.npz"
    if file is not None and file.exists():
        with np.load(file) as kept:
            rows, centroids = kept["rows"], kept["centroids"]
    else:
        built = build(vectors, count, "int8")
        rows, centroids = built["rows"], built["centroids"]
        if file is not None:
            np.savez(file, rows=rows, centroids=centroids)
    table = np.where(rows[..., np.newaxis] >= 0, vectors[np.maximum(rows, 0)], 0).astype(np.float32)
    spreads = (
        np.square(table, dtype=np.float64).sum(axis=1) / np.maximum((rows >= 0).sum(axis=1), 1)[:, np.newaxis]
    )
    spreads = np.maximum(spreads - np.square(centroids, dtype=np.float64), 0).astype(np.float32)
    return {"rows": rows, "centroids": centroids, "spreads": spreads, "table": table}


def _fewest(vectors: Any, parts: dict[str, Any], truth: Any, asked: Any, target: float, alpha: float) -> int:
    rows = parts["rows"]
    partition = np.empty(len(vectors), np.int64)
    taken = np.flatnonzero(rows.reshape(-1) >= 0)
    partition[rows.reshape(-1)[taken]] = taken // rows.shape[1]
    scores = asked @ parts["centroids"].T + alpha * np.sqrt(asked**2 @ parts["spreads"].T)
    rank = np.argsort(np.argsort(-scores, axis=1), axis=1)
    counts = np.bincount(np.take_along_axis(rank, partition[truth], axis=1).reshape(-1), minlength=len(rows))
    return int(np.searchsorted(np.cumsum(counts) / truth.size, target)) + 1


def _inverted(kept: dict[str, Any], probes: int, alpha: float, reader: Any) -> Way:
    def way(queries: Any) -> tuple[Any, Any]:
        near = tf.matmul(queries, kept["centroids"].value(), transpose_b=True)
        if alpha:
            near += alpha * tf.sqrt(tf.matmul(tf.square(queries), kept["spreads"].value(), transpose_b=True))
        probed = tf.math.top_k(near, probes, sorted=False).indices
        scores = reader(kept["table"].value(), probed[0], queries[0])
        rows = tf.reshape(tf.gather(kept["rows"].value(), probed[0]), [-1])
        best = tf.math.top_k(tf.where(rows >= 0, scores, LOWEST), K)
        return best.values[tf.newaxis], tf.gather(rows, best.indices)[tf.newaxis]

    return way


def _one_gather(table: Any, probes: Any, query: Any) -> Any:
    return tf.linalg.matvec(tf.reshape(tf.gather(table, probes), [-1, query.shape[0]]), query)


def _gathers(count: int) -> Any:
    def read(table: Any, probes: Any, query: Any) -> Any:
        edges = [len_ * probes.shape[0] // count for len_ in range(count + 1)]
        groups = [probes[edges[i] : edges[i + 1]] for i in range(count) if edges[i] < edges[i + 1]]
        return tf.concat([_one_gather(table, group, query) for group in groups], axis=0)

    return read


def _slices(table: Any, probes: Any, query: Any) -> Any:
    return tf.concat([tf.linalg.matvec(table[place], query) for place in tf.unstack(probes)], axis=0)


def _loop(parallel: int) -> Any:
    def read(table: Any, probes: Any, query: Any) -> Any:
        scores = tf.map_fn(
            lambda place: tf.linalg.matvec(table[place], query),
            probes,
            fn_output_signature=tf.float32,
            parallel_iterations=parallel,
        )
        return tf.reshape(scores, [-1])

    return read


_READERS = {
    "one gather": _one_gather,
    "4 gathers": _gathers(4),
    "8 gathers": _gathers(8),
    "16 gathers": _gathers(16),
    "slices": _slices,
    "loop over slices": _loop(10),
}
_WITH_SPREAD = ("one gather", "8 gathers", "slices")
_MOST_SLICES = 130  # each is some nodes of the graph


def true_lists(vectors: Any, queries: Any) -> Any:
    parts = [queries[start : start + 32] @ vectors.T for start in range(0, len(queries), 32)]
    return np.concatenate([np.argpartition(-scores, K - 1, axis=1)[:, :K] for scores in parts])


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.option("--data", type=Path, help="Folder with data.npz, as benchmarks/retrieval.py --keep leaves it.")
@click.option(
    "--group", multiple=True, type=click.Choice(["exact-1", "exact-32", "inverted-0.95", "inverted-0.99"])
)
@click.option("--rounds", default=4, show_default=True)
@click.option("--seconds", default=0.1, show_default=True, help="For each way in each round.")
@click.option(
    "--partitions", multiple=True, type=int, help="Of inverted files.  [default: 1, 2 roots of the items]"
)
def main(
    data: Path | None, group: tuple[str, ...], rounds: int, seconds: float, partitions: tuple[int, ...]
) -> None:
    if data is not None:
        with np.load(data / "data.npz") as kept:
            plain, queries = kept["vectors"], kept["queries"][:128]
    else:
        plain, queries = clustered_data(60_000, 64, 128)
    truth = true_lists(plain, queries)
    vectors = tf.Variable(tf.constant(plain), trainable=False)
    for name in group or ("exact-1", "exact-32", "inverted-0.95", "inverted-0.99"):
        batch = 32 if name == "exact-32" else 1
        if name.startswith("exact"):
            make = exact_for_one if batch == 1 else exact_for_many
            ways = make(vectors.value())
        else:
            ways = inverted_files(
                vectors.value(), data, truth, queries, float(name.split("-")[1]), partitions
            )
        print(f"\n{name}, {len(plain):,} x {plain.shape[1]}\n\n| way | finds | ms | x |\n|---|---|---|---|")
        report(ways, queries, truth, batch, rounds, seconds)


def report(ways: dict[str, Way], queries: Any, truth: Any, batch: int, rounds: int, seconds: float) -> None:
    signature = [tf.TensorSpec([batch, queries.shape[1]], tf.float32)]
    traced = {name: tf.function(way, input_signature=signature) for name, way in ways.items()}
    batches = [tf.constant(queries[start : start + batch]) for start in range(0, len(queries), batch)]
    found = {}
    for name, way in traced.items():
        asked = batches[: max(1, 32 // batch)]
        rows = np.concatenate([way(part)[1].numpy() for part in asked])
        found[name] = sum(len(np.intersect1d(a, b)) for a, b in zip(rows, truth, strict=False)) / rows.size
    times: dict[str, list[float]] = {name: [] for name in traced}
    for _ in range(rounds):
        for name, way in traced.items():
            began, calls = time.perf_counter(), 0
            while time.perf_counter() - began < seconds or calls < 2:
                way(batches[calls % len(batches)])
                calls += 1
            times[name].append(1e3 * (time.perf_counter() - began) / calls)
    base = statistics.median(next(iter(times.values())))
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(
            f"| {name} | {found[name]:.3f} | {middle:.2f} ({min(taken):.2f}) | {base / middle:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
