"""The index of an exported model: ids and vectors of all items, and the search over them.

All that depends on the catalogue is kept in variables without a fixed length, so that a catalogue can be replaced
without touching the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.explaining.descriptions import Descriptions
from trainer.indexes import approximate, exact
from trainer.indexes.approximate import Finder
from trainer.indexes.scann import Scann
from trainer.indexes.table import VectorTable, variable
from trainer.keras_compat import tf
from trainer.rules.permission import Permission
from trainer.rules.variants import ALONE
from trainer.string_lookup import StringLookup
from trainer.top_k import exact_top_k


class ItemIndex(tf.Module):  # type: ignore[misc]
    """All that an exported model knows of its catalogue.

    Args:
        item_ids: [N] distinct ids.
        vectors: The vectors of the N items.
        counts: int64 [N] training events an item; the order of the most popular items.
        categories: [N] the categories of each item, over all category features.
        variants: int64 [N] variant groups, -1 = alone (see `trainer.rules.variants`); None = all are alone.
        finder: Finds candidates; None = every item is scored.
        id_rows: int32 [N] the ID embedding of each item, 0 = it has none; None = no item has one.
        descriptions: The items as they were described; None = nobody asks for them.

    Raises:
        ExportError: an id or a category is empty.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        vectors: VectorTable,
        counts: npt.NDArray[np.int64],
        categories: Sequence[Sequence[str]],
        variants: npt.NDArray[np.int64] | None = None,
        finder: Finder | None = None,
        id_rows: npt.NDArray[np.int32] | None = None,
        descriptions: Descriptions | None = None,
    ) -> None:
        super().__init__(name="item_index")
        names = sorted({name for row in categories for name in row})
        rows = {name: row for row, name in enumerate(names)}
        width = max([1, *(len(row) for row in categories)])
        table = np.full((len(item_ids), width), -1, np.int32)
        for row, values in enumerate(categories):
            table[row, : len(values)] = [rows[value] for value in values]
        self.vectors = vectors
        # Its name is part of the paths of its variables.
        self.scann = finder if isinstance(finder, Scann) else None
        self.inverted_file = None if self.scann is not None else finder
        self.scale = variable(np.log1p(counts).astype(np.float32), "item_scale")
        self.categories = variable(table, "item_categories")
        alone = np.full(len(item_ids), ALONE, np.int64)
        self.variants = variable(alone if variants is None else variants, "item_variants")
        self.id_rows = variable(
            np.zeros(len(item_ids), np.int32) if id_rows is None else id_rows, "item_id_rows"
        )
        self.descriptions = descriptions
        self.items = StringLookup(item_ids, "item_ids")
        self.category_names = StringLookup(names, "category_names")

    def rows_of(self, item_ids: Any) -> Any:
        """int32 rows of string ids, any shape; -1 = unknown or ""."""
        return self.items.lookup(item_ids)

    def id_rows_of(self, rows: Any) -> Any:
        """int32 rows of the table of ID embeddings for int32 rows of the catalogue, any shape; 0 = none."""
        return tf.where(rows >= 0, tf.gather(tf.convert_to_tensor(self.id_rows), tf.maximum(rows, 0)), 0)

    def ids_of(self, rows: Any, scores: Any) -> Any:
        """String ids of int32 rows, any shape; "" where the score is -inf."""
        found = self.items.strings(rows)
        return tf.where(tf.math.is_finite(scores), found, tf.zeros_like(found))

    def gather(self, rows: Any) -> Any:
        """float32 [..., D] vectors of int32 rows [...]; zeros for -1."""
        return self.vectors.gather(rows)

    def scale_of(self, rows: Any) -> Any:
        """float32 log(1 + training count) of int32 rows, any shape; row -1 gives that of row 0."""
        return tf.gather(tf.convert_to_tensor(self.scale), tf.maximum(rows, 0))

    def cosines(self, rows: Any) -> Any:
        """float32 [B, N] cosine of the items at int32 [B] rows with all items; 0 for a vector of zeros."""
        vectors = self.vectors.gather(rows)
        lengths = tf.norm(vectors, axis=1)[:, tf.newaxis] * self.vectors.lengths()
        return tf.math.divide_no_nan(self.vectors.scores(vectors), lengths)

    def search(self, queries: Any, known: Any, permission: Permission, count: int) -> tuple[Any, Any]:
        """The best items for each query among those that it may get.

        Args:
            queries: float32 [B, D].
            known: bool [B]; rows of which nothing is known get the most popular items, scored by `scale`.
            permission: What may be returned.
            count: Length of the lists.

        Returns:
            float32 [B, count] scores, best first, -inf from where no item is left that may be shown; int32
            [B, count] rows.
        """
        scale = tf.convert_to_tensor(self.scale)
        finder = self.scann or self.inverted_file
        if finder is None:
            return exact.search(self.vectors, scale, queries, known, permission, count)
        return approximate.search(finder, self.vectors, scale, queries, known, permission, count)

    def best(self, scores: Any, k: int) -> tuple[Any, Any]:
        """float32 [B, k] scores and int32 [B, k] rows of the best items, padded with -inf."""
        return exact_top_k(scores, k)
