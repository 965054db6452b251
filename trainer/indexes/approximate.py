"""Search by an inverted file or by ScaNN with the guarantees of an exact search: permissions hold, and lists are full.

More candidates are fetched than asked for, scored exactly, and what may not be returned is dropped. A row that keeps
too few, because much is excluded or filtered, is searched exactly; so is a row of which nothing is known.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from trainer.indexes import exact
from trainer.indexes.table import VectorTable
from trainer.keras_compat import tf
from trainer.rules.permission import Permission


class Finder(Protocol):
    """What finds candidates.

    Attributes:
        probes: How many partitions it reads for a query.
        oversampling: Candidates for each place of a list. Where a filter keeps too few of them, the search is exact.
    """

    probes: int
    oversampling: int

    @property
    def rounds(self) -> bool:
        """Whether its scores are of vectors that are kept otherwise than they were given."""

    def candidates(self, queries: Any, count: Any) -> tuple[Any, Any]:
        """See `trainer.indexes.inverted_file.InvertedFile.candidates`."""


def search(
    finder: Finder,
    table: VectorTable,
    popularity: Any,
    queries: Any,
    known: Any,
    permission: Permission,
    count: Any,
) -> tuple[Any, Any]:
    """The best items for each query, as far as the finder finds them.

    Args:
        finder: Finds candidates.
        table: Scores them.
        popularity: float32 [N] scores for the rows of which nothing is known.
        queries: float32 [B, D].
        known: bool [B].
        permission: What may be returned.
        count: Length of the lists, an int or an int32 scalar.

    Returns:
        float32 [B, count] exact scores, best first, -inf only once no item is left that may be returned; int32
        [B, count] rows.
    """
    scores, rows = best_candidates(finder, table, queries, permission, count)
    wanting = tf.where(~known | tf.reduce_any(tf.math.is_inf(scores), axis=1))

    def searched_exactly() -> tuple[Any, Any]:
        places = wanting[:, 0]
        found = exact.search(
            table,
            popularity,
            tf.gather(queries, places),
            tf.gather(known, places),
            permission.at(places),
            count,
        )
        return (
            tf.tensor_scatter_nd_update(scores, wanting, found[0]),
            tf.tensor_scatter_nd_update(rows, wanting, found[1]),
        )

    return tuple(tf.cond(tf.shape(wanting)[0] > 0, searched_exactly, lambda: (scores, rows)))


def best_candidates(
    finder: Finder, table: VectorTable, queries: Any, permission: Permission, count: Any
) -> tuple[Any, Any]:
    """The best permitted candidates by exact scores: float32 [B, count], -inf where none, and int32 [B, count] rows."""
    scores, rows = finder.candidates(queries, finder.oversampling * count)
    if finder.rounds or table.rounds:
        scores = tf.linalg.matvec(table.gather(rows), queries)
    scores = tf.where(permission.allows(rows), scores, np.float32(-np.inf))
    best = tf.math.top_k(scores, k=count)
    return best.values, tf.gather(rows, best.indices, batch_dims=1)
