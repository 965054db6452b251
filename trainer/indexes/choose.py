"""Builds the search that the configuration asks for, and measures what it finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.errors import ExportError
from trainer.indexes import exact, scann
from trainer.indexes.approximate import Finder, best_candidates
from trainer.indexes.inverted_file import InvertedFile, build
from trainer.indexes.probes import best_probing
from trainer.indexes.recall import Rows, recall, rows_of, true_lists
from trainer.indexes.settings import IndexConfig
from trainer.indexes.storage import Vectors
from trainer.indexes.table import VectorTable
from trainer.keras_compat import tf
from trainer.rules.permission import Permission

_FEWEST_LEAVES = 4
_MOST_PARTITIONS = 8192  # the time to put items into partitions grows with both
_FINER = 6  # a sixth more partitions, as long as recall is too low


@dataclass(frozen=True)
class Search:
    """A built search.

    Attributes:
        table: The item vectors.
        finder: Finds candidates; None for exact search.
        facts: What serving.json says of it.
    """

    table: VectorTable
    finder: Finder | None
    facts: dict[str, Any]


def build_search(vectors: Vectors, queries: Callable[[], Vectors], k: int, config: IndexConfig) -> Search:
    """Builds and measures.

    Args:
        vectors: float32 [N, D] item vectors in the order of the catalogue; may be memory-mapped.
        queries: Computes float32 [M, D] query vectors of held-out histories; called only if something may be missed.
        k: Length of the lists.
        config: See `IndexConfig`.

    Raises:
        ExportError: recall is below the least that is allowed, or there are no queries to measure it with.
    """
    kind = config.kind_for(len(vectors))
    table = VectorTable(vectors, config.vectors)
    facts: dict[str, Any] = {"kind": kind, "vectors": config.vectors, "recall_k": min(k, len(vectors))}
    if kind == "exact" and config.vectors == "float32":
        return Search(table, None, {**facts, "recall": 1.0})
    asked = queries()
    if len(asked) < 2:
        raise ExportError(
            "The index cannot be measured: the test split has no two histories. Set export.index.kind = 'exact' and "
            "export.index.vectors = 'float32', which need no measuring."
        )
    scores, best = true_lists(vectors, asked, k)

    def measured(half: slice) -> float:
        return recall(_searcher(table, finder, k), vectors, asked[half], scores[half, 0], k)

    half = slice(0, None, 2)
    finder: Finder | None = None
    if kind != "exact":
        make = _scann if kind == "scann" else _inverted_file
        finder, partitions = make(vectors, config, asked[half], best[half])
        if config.probes is None:
            while finder.probes < partitions and measured(half) < config.target_recall:
                finder.probes = min(partitions, finder.probes + max(1, finder.probes // _FINER))
        facts |= {"partitions": partitions, "probes": min(finder.probes, partitions)}
    if isinstance(finder, InvertedFile):
        facts |= {"table": config.table, "reach": finder.reach}
    found = measured(slice(1, None, 2))
    if found < config.min_recall:
        raise ExportError(
            f"The model was not published: its index finds {found:.3f} of the {min(k, len(vectors))} best items, less "
            f"than export.index.min_recall = {config.min_recall}. Raise export.index.probes or target_recall, keep "
            "vectors with more bits, or set kind = 'exact'."
        )
    return Search(table, finder, {**facts, "recall": round(found, 4), "queries": len(asked) // 2})


def default_partitions(items: int) -> int:
    """Four times the square root of the number of items, at most 8,192: more small partitions are read more exactly."""
    return min(_MOST_PARTITIONS, max(1, round(4 * math.sqrt(items))))


def _inverted_file(
    vectors: Vectors, config: IndexConfig, asked: Vectors, best: Rows
) -> tuple[InvertedFile, int]:
    partitions = min(config.partitions or default_partitions(len(vectors)), len(vectors))
    parts = build(vectors, partitions, config.table)
    probing = best_probing(parts, asked, best, config.target_recall, config.probes)
    return InvertedFile(parts, probing.probes, probing.reach), partitions


def _scann(vectors: Vectors, config: IndexConfig, asked: Vectors, best: Rows) -> tuple[scann.Scann, int]:
    del asked, best  # where its partitions lie only ScaNN knows
    leaves = min(config.partitions or scann.default_leaves(len(vectors)), len(vectors))
    return scann.Scann(scann.build(vectors, leaves), min(config.probes or _FEWEST_LEAVES, leaves)), leaves


def _searcher(table: VectorTable, finder: Finder | None, k: int) -> Callable[[Vectors], Rows]:
    """The search as the served graph does it for rows without any rule."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])  # type: ignore[untyped-decorator]
    def search(queries: Any) -> Any:
        nothing = Permission(tf.fill([tf.shape(queries)[0], 1], -1))
        if finder is not None:
            return best_candidates(finder, table, queries, nothing, k)
        known = tf.ones(tf.shape(queries)[:1], tf.bool)
        return exact.search(table, tf.zeros([table.size()]), queries, known, nothing, k)

    return lambda part: rows_of(search(tf.constant(part)))
