"""The searches that benchmarks/retrieval.py compares, each behind the same call: float32 [B, D] queries to int rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _retrieval_ours import our_exact, our_inverted_file, our_scann
from _retrieval_system import Search, System, Vectors, ladder, traced


def systems(vectors: Vectors, k: int, only: tuple[str, ...], keep: Path | None) -> Iterator[System]:
    """Builds the searches one after the other; what is not installed is passed over with a line that says so.

    Args:
        vectors: float32 [N, D].
        k: Length of the lists.
        only: Names; empty for all.
        keep: Folder for what takes long to build, of these vectors only; it is read from there the next time.
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    for name, build in BUILDERS.items():
        if only and name not in only:
            continue
        try:
            yield build(name, vectors, k, keep and keep / name.replace(" ", "-"))
        except ImportError as error:
            print(f"{name}: not installed ({error}); see benchmarks/requirements-retrieval.txt", flush=True)


def brute_force(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """TensorFlow Recommenders' layer."""
    import tensorflow_recommenders as tfrs

    from trainer.keras_compat import tf

    layer = tfrs.layers.factorized_top_k.BruteForce(k=k).index(tf.constant(vectors))
    return System(name, True, [None], lambda _: traced(lambda queries: layer(queries)[1], vectors))


def tfrs_scann(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """TensorFlow Recommenders' layer around ScaNN's ops."""
    import tensorflow_recommenders as tfrs
    from scann import scann_ops

    from trainer.keras_compat import tf

    leaves = _leaves(len(vectors))
    layer = tfrs.layers.factorized_top_k.ScaNN(
        k=k, num_leaves=leaves, num_leaves_to_search=leaves, num_reordering_candidates=4 * k
    ).index(tf.constant(vectors))

    def with_leaves(setting: list[int]) -> Search:
        searched, reordered = setting

        def search(queries: Any) -> Any:
            # As the layer calls it, which has no argument for the number of leaves.
            searcher = scann_ops.searcher_from_module(layer._serialized_searcher)
            return searcher.search_batched(
                queries,
                final_num_neighbors=k,
                leaves_to_search=searched,
                pre_reorder_num_neighbors=reordered,
            )[0]

        return traced(search, vectors)

    return System(name, False, **_scann_settings(leaves, k, with_leaves))


def scann_library(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """ScaNN called from Python, without TensorFlow."""
    from scann.scann_ops.py import scann_ops_pybind

    leaves = _leaves(len(vectors))
    if keep is not None and keep.exists():
        searcher = scann_ops_pybind.load_searcher(str(keep))
    else:
        searcher = (
            scann_ops_pybind.builder(vectors, k, "dot_product")
            .tree(leaves, leaves, training_sample_size=min(len(vectors), 250_000))
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(10 * k)
            .build()
        )
        if keep is not None:
            keep.mkdir()
            searcher.serialize(str(keep))

    def with_leaves(setting: list[int]) -> Search:
        searched, reordered = setting

        def search(queries: Vectors) -> npt.NDArray[Any]:
            call = searcher.search_batched if len(queries) == 1 else searcher.search_batched_parallel
            return np.asarray(
                call(
                    queries,
                    final_num_neighbors=k,
                    leaves_to_search=searched,
                    pre_reorder_num_neighbors=reordered,
                )[0]
            )

        return search

    return System(name, False, **_scann_settings(leaves, k, with_leaves))


def _leaves(items: int) -> int:
    return max(1, int(items**0.5))


def _scann_settings(leaves: int, k: int, search: Callable[[list[int]], Search]) -> dict[str, Any]:
    """Leaves that are read, and how many of their codes are scored exactly: first 10 for each place of the list."""
    few, many = ([[read, share * k] for read in ladder(4, leaves)] for share in (10, 40))
    return {"settings": few, "search": search, "wider": many}


def faiss_flat(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """All inner products."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return System(name, True, [None], lambda _: lambda queries: index.search(queries, k)[1])


def faiss_ivf(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """Inverted file of float32 vectors."""
    import faiss

    width, lists = vectors.shape[1], max(1, round(len(vectors) ** 0.5))
    quantizer = faiss.IndexFlatIP(width)
    if keep is not None and keep.exists():
        index = faiss.read_index(str(keep))
    else:
        index = faiss.IndexIVFFlat(quantizer, width, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = 0
        sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 64 * lists), replace=False)
        index.train(vectors[sample])
        index.add(vectors)
        if keep is not None:
            faiss.write_index(index, str(keep))

    def with_probes(probes: int) -> Search:
        def search(queries: Vectors) -> npt.NDArray[Any]:
            index.nprobe = probes
            return np.asarray(index.search(queries, k)[1])

        return search

    return System(name, False, ladder(2, lists), with_probes)


def faiss_hnsw(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """Graph of neighbours, 16 a node."""
    import faiss

    if keep is not None and keep.exists():
        index = faiss.read_index(str(keep))
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 100
        index.add(vectors)
        if keep is not None:
            faiss.write_index(index, str(keep))

    def with_width(width: int) -> Search:
        def search(queries: Vectors) -> npt.NDArray[Any]:
            index.hnsw.efSearch = width
            return np.asarray(index.search(queries, k)[1])

        return search

    return System(name, False, ladder(k, 40 * k), with_width)


def hnswlib_graph(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """Graph of neighbours, 16 a node."""
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    if keep is not None and keep.exists():
        index.load_index(str(keep), max_elements=len(vectors))
    else:
        index.init_index(len(vectors), M=16, ef_construction=100, random_seed=0)
        index.add_items(vectors)
        if keep is not None:
            index.save_index(str(keep))

    def with_width(width: int) -> Search:
        def search(queries: Vectors) -> npt.NDArray[Any]:
            index.set_ef(width)
            return np.asarray(index.knn_query(queries, k)[0])

        return search

    return System(name, False, ladder(k, 40 * k), with_width)


def usearch_graph(name: str, vectors: Vectors, k: int, keep: Path | None) -> System:
    """Graph of neighbours, 16 a node."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=100)
    if keep is not None and keep.exists():
        index.load(str(keep))
    else:
        index.add(np.arange(len(vectors)), vectors)
        if keep is not None:
            index.save(str(keep))

    def with_width(width: int) -> Search:
        def search(queries: Vectors) -> npt.NDArray[Any]:
            index.expansion_search = width
            return np.atleast_2d(np.asarray(index.search(queries, k).keys))

        return search

    return System(name, False, ladder(k, 40 * k), with_width)


BUILDERS: dict[str, Callable[[str, Vectors, int, Path | None], System]] = {
    "TFRS BruteForce": brute_force,
    "exact": our_exact,
    "exact, bfloat16": lambda *given: our_exact(*given, "bfloat16"),
    "exact, int8": lambda *given: our_exact(*given, "int8"),
    "inverted file": our_inverted_file,
    "inverted file, float32": lambda *given: our_inverted_file(*given, "float32"),
    "inverted file, int8": lambda *given: our_inverted_file(*given, "int8"),
    "TFRS ScaNN": tfrs_scann,
    "scann": our_scann,
    "ScaNN": scann_library,
    "faiss flat": faiss_flat,
    "faiss IVF": faiss_ivf,
    "faiss HNSW": faiss_hnsw,
    "hnswlib": hnswlib_graph,
    "usearch": usearch_graph,
}
