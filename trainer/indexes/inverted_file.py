"""Approximate search: only the partitions whose centroids lie nearest to the query are scored.

An inverted file (Jégou, Douze and Schmid 2011, section IV) of partitions of equal size, so that it is one tensor
[partitions, slots, D] and probing is a gather. The partitions' vectors may be rounded; the best of them are scored
again with the vectors of the exact table.

Partitions are probed in the order of the score that one of their better items may have: the centroid's, and some
standard deviations of the members' scores, which the members' variance in each dimension tells. To find as much, the
order of the centroids' scores alone needs half as many partitions more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.indexes.clustering import SPARE, cluster, means, variances
from trainer.indexes.partition import assign, slots_of
from trainer.indexes.storage import Dtype, Vectors, blocks, dtype_of, encode
from trainer.indexes.table import variable
from trainer.keras_compat import tf
from trainer.top_k import known_width

_AT_ONCE = 5 * 2**20
"""Numbers to copy at once, 20 MB of float32."""
_PARTS = 8


def build(vectors: Vectors, partitions: int, dtype: Dtype, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """The variables of an inverted file, by name; equal arguments give equal bits.

    Args:
        vectors: float32 [N, D]; may be memory-mapped, since only a sample is held and the rest is read in blocks.
        partitions: P, at most N.
        dtype: How the partitions' vectors are kept.
        seed: Of the sample that the centroids are found with.

    Returns:
        "centroids" float32 [P, D]; "spreads" float32 [P, D], the members' variance; "table" [P, S, D] with S about
        1.15 N / P, free slots are zero; "rows" int32 [P, S] the item in each slot, -1 = free; for int8 also "scales"
        float32 [P, S].
    """
    slots = slots_a_partition(len(vectors), partitions)
    centroids = cluster(vectors, partitions, seed)
    members = assign(vectors, centroids, np.full(partitions, slots))
    places = slots_of(members, np.zeros((partitions, slots), np.bool_))
    rows = np.full(partitions * slots, -1, np.int32)
    rows[places] = np.arange(len(vectors), dtype=np.int32)
    parts = empty(partitions, slots, vectors.shape[1], dtype)
    put(parts, places, vectors)
    # Where the members lie in the end, which a partition that is full was not asked for.
    centroids = means(vectors, members, centroids)
    return {
        "centroids": centroids,
        "spreads": variances(vectors, members, centroids),
        "rows": rows.reshape(partitions, slots),
        **parts,
    }


def slots_a_partition(count: int, partitions: int) -> int:
    """S for a number of items: with spare room, a multiple of 8."""
    return int(-(-SPARE * count // (8 * partitions))) * 8


def empty(partitions: int, slots: int, width: int, dtype: Dtype) -> dict[str, npt.NDArray[Any]]:
    """The "table" [P, S, D], and for int8 the "scales" [P, S], with nothing in any slot."""
    codes, scales = encode(np.zeros((1, width), np.float32), dtype)
    parts = {"table": np.zeros((partitions, slots, width), codes.dtype)}
    return parts | {"scales": np.zeros((partitions, slots), scales.dtype)} if dtype == "int8" else parts


def put(parts: dict[str, npt.NDArray[Any]], places: npt.NDArray[np.int64], vectors: Vectors) -> None:
    """Writes float32 [N, D] vectors to int64 [N] places of the flattened slots of "table", and of "scales"."""
    table = parts["table"].reshape(-1, vectors.shape[1])
    for rows in blocks(len(vectors)):
        codes, scales = encode(np.asarray(vectors[rows], np.float32), dtype_of(table))
        table[places[rows]] = codes
        if "scales" in parts:
            parts["scales"].reshape(-1)[places[rows]] = scales


class InvertedFile(tf.Module):  # type: ignore[misc]
    """A built inverted file as variables of an exported model.

    Args:
        parts: See `build`.
        probes: Partitions that are read for a query.
        reach: How many standard deviations of its members' scores above its centroid's a partition is expected to have
            items; see `trainer.indexes.probes`.
    """

    oversampling = 4

    def __init__(self, parts: dict[str, npt.NDArray[Any]], probes: int, reach: float = 3.0) -> None:
        super().__init__(name="search")
        self.centroids = variable(parts["centroids"], "centroids", fixed=1)
        self.spreads = variable(parts["spreads"], "spreads", fixed=1)
        self.table = variable(parts["table"], "table", fixed=1)
        self.rows = variable(parts["rows"], "rows")
        self.scales = variable(parts["scales"], "scales") if "scales" in parts else None
        self.probes, self.reach = probes, reach

    @property
    def rounds(self) -> bool:
        """Whether vectors are kept otherwise than they were given."""
        return bool(self.table.dtype != tf.float32)

    def candidates(self, queries: Any, count: Any) -> tuple[Any, Any]:
        """The best items of the probed partitions by their vectors as kept there.

        Args:
            queries: float32 [B, D].
            count: How many.

        Returns:
            float32 [B, count] scores, best first, and int32 [B, count] rows; -inf and -1 where the partitions hold no
            more items.
        """
        centroids, spreads = tf.convert_to_tensor(self.centroids), tf.convert_to_tensor(self.spreads)
        near = tf.matmul(queries, centroids, transpose_b=True)
        near += self.reach * tf.sqrt(tf.matmul(tf.square(queries), spreads, transpose_b=True))
        most = tf.minimum(self.probes, tf.shape(centroids)[0])
        probes = tf.math.top_k(near, k=most, sorted=False).indices

        def alone() -> Any:
            return tuple(part[tf.newaxis] for part in self._read(queries[0], probes[0], count))

        def row_by_row() -> Any:  # what one query reads fits into the cache, what a batch reads does not
            return tf.map_fn(
                lambda row: self._read(row[0], row[1], count),
                (queries, probes),
                fn_output_signature=(tf.float32, tf.int32),
            )

        scores, rows = tf.cond(tf.shape(queries)[0] == 1, alone, row_by_row)
        shape = [None, known_width(count)]
        return tf.ensure_shape(scores, shape), tf.ensure_shape(rows, shape)

    def _read(self, query: Any, probes: Any, count: Any) -> tuple[Any, Any]:
        """float32 [count] scores and int32 [count] rows of one query float32 [D] and its probes int32."""
        rows = tf.reshape(tf.gather(tf.convert_to_tensor(self.rows), probes), [-1])
        scores = tf.where(rows >= 0, self._scores(query, probes), np.float32(-np.inf))
        missing = [[0, tf.maximum(count - tf.shape(scores)[0], 0)]]
        best = tf.math.top_k(tf.pad(scores, missing, constant_values=np.float32(-np.inf)), k=count)
        rows = tf.gather(tf.pad(rows, missing), best.indices)
        return best.values, tf.where(tf.math.is_finite(best.values), rows, -1)

    def _scores(self, query: Any, probes: Any) -> Any:
        """float32 [probes * S] scores of one query; in parts, since memory for large ones is new in every request."""
        table = tf.convert_to_tensor(self.table)
        numbers = tf.shape(probes)[0] * tf.shape(table)[1] * tf.shape(table)[2]
        return tf.cond(
            numbers > _AT_ONCE,
            lambda: tf.concat([self._read_some(query, part) for part in _parts(probes)], axis=0),
            lambda: self._read_some(query, probes),
        )

    def _read_some(self, query: Any, probes: Any) -> Any:
        """float32 [n * S] scores of the vectors in int32 [n] partitions."""
        codes = tf.gather(tf.convert_to_tensor(self.table), probes)
        vectors = tf.reshape(tf.cast(codes, tf.float32), [-1, tf.shape(query)[0]])
        scores = tf.linalg.matvec(vectors, query)
        if self.scales is None:
            return scores
        return scores * tf.reshape(tf.gather(tf.convert_to_tensor(self.scales), probes), [-1])


def _parts(probes: Any) -> list[Any]:
    """int32 [n] in `_PARTS` parts, in order."""
    size = -(-tf.shape(probes)[0] // _PARTS)
    return [probes[part * size : (part + 1) * size] for part in range(_PARTS)]
