"""The searches of exported models, for benchmarks/retrieval.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _retrieval_system import Search, System, Vectors, ladder, traced


def our_exact(name: str, vectors: Vectors, k: int, keep: Path | None, dtype: Any = "float32") -> System:
    """Exact search of an exported model."""
    from trainer.indexes import exact
    from trainer.indexes.table import VectorTable
    from trainer.keras_compat import tf
    from trainer.rules.permission import Permission

    table = VectorTable(vectors, dtype)
    popularity = tf.zeros([len(vectors)])

    def search(queries: Any) -> Any:
        rows = tf.shape(queries)[:1]
        nothing = Permission(tf.fill(tf.concat([rows, [1]], axis=0), -1))
        return exact.search(table, popularity, queries, tf.ones(rows, tf.bool), nothing, k)[1]

    return System(name, dtype == "float32", [None], lambda _: traced(search, vectors))


def our_inverted_file(
    name: str, vectors: Vectors, k: int, keep: Path | None, dtype: Any = "bfloat16"
) -> System:
    """Approximate search of an exported model, permissions and the exact second look included."""
    from trainer.indexes.choose import default_partitions
    from trainer.indexes.inverted_file import InvertedFile
    from trainer.indexes.probes import best_probing
    from trainer.indexes.table import VectorTable

    partitions = default_partitions(len(vectors))
    table, parts = VectorTable(vectors), _partitions(vectors, partitions, dtype, keep)
    finder = InvertedFile(parts, partitions)

    def counted(queries: Vectors, truth: npt.NDArray[Any], target: float) -> list[float]:
        probing = best_probing(parts, queries, truth, target)
        return [probing.probes, probing.reach]

    return _approximate(name, finder, table, partitions, k, counted)


def _approximate(name: str, finder: Any, table: Any, partitions: int, k: int, counted: Any = None) -> System:
    """Our approximate search, with all that it does for a request without rules."""
    from trainer.indexes import approximate
    from trainer.keras_compat import tf
    from trainer.rules.permission import Permission

    vectors = table.values

    def with_probes(setting: Any) -> Search:
        def search(queries: Any) -> Any:
            if counted is None:
                finder.probes = setting
            else:
                finder.probes, finder.reach = setting
            rows = tf.shape(queries)[:1]
            nothing = Permission(tf.fill(tf.concat([rows, [1]], axis=0), -1))
            known, popularity = tf.ones(rows, tf.bool), tf.zeros([table.size()])
            return approximate.search(finder, table, popularity, queries, known, nothing, k)[1]

        return traced(search, vectors)

    return System(name, False, ladder(4, partitions), with_probes, counted)


def _partitions(vectors: Vectors, count: int, dtype: Any, keep: Path | None) -> dict[str, Any]:
    """A built inverted file; where the items are is kept."""
    from trainer.indexes.inverted_file import build, empty, put

    if keep is None:
        return build(vectors, count, dtype)
    file = keep.with_name("partitions.npz")
    if not file.exists():
        built = build(vectors, count, dtype)
        np.savez(file, **{name: built[name] for name in ("rows", "centroids", "spreads")})
    with np.load(file) as kept:
        rows, centroids, spreads = kept["rows"], kept["centroids"], kept["spreads"]
    parts = empty(*rows.shape, vectors.shape[1], dtype)
    taken = np.flatnonzero(rows >= 0)
    put(parts, taken, vectors[rows.reshape(-1)[taken]])
    return {"rows": rows, "centroids": centroids, "spreads": spreads, **parts}


def our_scann(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """ScaNN's ops as an exported model uses them: its codes, then the exact table."""
    from trainer.indexes import scann
    from trainer.indexes.table import VectorTable

    leaves = scann.default_leaves(len(vectors))
    finder = scann.Scann(scann.build(vectors, leaves), leaves)
    return _approximate(name, finder, VectorTable(vectors), leaves, k)
