"""Exact search: every item is scored.

For many items and queries in blocks of items. A [B, N] table of scores is written to fresh memory in every request, and
for 32 queries and a million items getting that memory takes longer than the products do; a block's scores stay in the
processor's cache. Of each block only the maxima of chunks of items are kept. The k best items lie in the k chunks with
the largest maxima, so these are scored a second time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.indexes.table import VectorTable
from trainer.keras_compat import tf
from trainer.rules.permission import Permission
from trainer.top_k import exact_top_k

_AT_ONCE = 2**21
"""Numbers that a block may hold: 8 MB of float32."""
_LEAST_AT_ONCE, _LEAST_BLOCKS = 2**19, 8
"""Smaller catalogues are cut into smaller blocks, down to 2 MB, so that several cores find some to work on."""
_CHUNK = 16


def search(
    table: VectorTable, popularity: Any, queries: Any, known: Any, permission: Permission, count: Any
) -> tuple[Any, Any]:
    """The best items for each query.

    Args:
        table: Item vectors.
        popularity: float32 [N] scores for the rows of which nothing is known.
        queries: float32 [B, D].
        known: bool [B].
        permission: What may be returned.
        count: Length of the lists, an int or an int32 scalar.

    Returns:
        float32 [B, count] scores, best first, padded with -inf; int32 [B, count] rows, the lower first among equals.
    """
    width = tf.maximum(tf.shape(queries)[0], table.unpacked_width)
    large = table.size() > _AT_ONCE // width
    plain = tf.reduce_all(known) & ~tf.reduce_any(permission.restricted)
    return tuple(
        tf.cond(
            large & plain,
            lambda: _in_blocks(table, queries, permission.unfiltered(), count, _block(table.size(), width)),
            lambda: _at_once(table, popularity, queries, known, permission, count),
        )
    )


def _block(items: Any, width: Any) -> Any:
    """How many items are scored at once, each of which takes `width` numbers; int32 scalar."""
    most, least = _AT_ONCE // width, _LEAST_AT_ONCE // width
    return tf.minimum(most, tf.maximum(least, items // _LEAST_BLOCKS))


def _at_once(
    table: VectorTable, popularity: Any, queries: Any, known: Any, permission: Permission, count: Any
) -> tuple[Any, Any]:
    scores = table.scores(queries)
    scores = tf.cond(
        tf.reduce_all(known), lambda: scores, lambda: tf.where(known[:, tf.newaxis], scores, popularity)
    )
    return exact_top_k(permission.apply(scores), count)


def _in_blocks(
    table: VectorTable, queries: Any, permission: Permission, count: Any, size: Any
) -> tuple[Any, Any]:
    """For rows without filters of which something is known; `size` items at a time."""
    size = tf.maximum(size // _CHUNK, 1) * _CHUNK
    maxima = _maxima(table, queries, permission.excluded, size)
    values, chunks = exact_top_k(maxima, count)
    # In the order of the catalogue, so that the lower row comes first among equals; what is no chunk at the end.
    chunks = tf.sort(tf.where(tf.math.is_finite(values), chunks, tf.shape(maxima)[1]), axis=1)
    rows = tf.reshape(chunks[:, :, tf.newaxis] * _CHUNK + tf.range(_CHUNK), [-1, count * _CHUNK])
    rows = tf.where(rows < table.size(), rows, -1)
    allowed = permission.allows(rows)

    def best(row: Any) -> Any:
        query, found, may = row
        scores = tf.linalg.matvec(table.gather(found), query)
        top = tf.math.top_k(tf.where(may, scores, np.float32(-np.inf)), k=count)
        return top.values, tf.gather(found, top.indices)

    return tuple(tf.map_fn(best, (queries, rows, allowed), fn_output_signature=(tf.float32, tf.int32)))


def _maxima(table: VectorTable, queries: Any, excluded: Any, size: Any) -> Any:
    """float32 [B, chunks] the largest score of each chunk of items, `size` items at a time."""
    items, batch = table.size(), tf.shape(queries)[0]

    def block(start: Any, found: Any) -> Any:
        scores = _without(table.products(queries, start, start + size), excluded - start)
        missing = [[0, -tf.shape(scores)[0] % _CHUNK], [0, 0]]
        padded = tf.pad(scores, missing, constant_values=np.float32(-np.inf))
        chunks = tf.reshape(padded, [-1, _CHUNK, batch])
        return start + size, found.write(start // size, tf.reduce_max(chunks, axis=1))

    found = tf.TensorArray(tf.float32, -(-items // size), infer_shape=False, element_shape=[None, None])
    _, found = tf.while_loop(
        lambda start, _: start < items, block, (tf.constant(0), found), parallel_iterations=2
    )
    return tf.transpose(found.concat())


def _without(scores: Any, places: Any) -> Any:
    """float32 [n, B] scores with -inf at int32 [B, E] items of each query; what is not in 0..n - 1 is passed over."""
    inside = (places >= 0) & (places < tf.shape(scores)[0])
    batch = tf.repeat(tf.range(tf.shape(places)[0])[:, tf.newaxis], tf.shape(places)[1], axis=1)
    indices = tf.stack([tf.where(inside, places, 0), batch], axis=2)
    gone = tf.where(inside, np.float32(-np.inf), np.float32(np.inf))
    return tf.tensor_scatter_nd_min(scores, indices, gone)
