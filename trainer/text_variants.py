"""Other wordings of items' texts, which stand in for the texts now and then while the towers learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.catalogue import Catalogue
from trainer.dataset import DatasetDirectory
from trainer.errors import DatasetError
from trainer.keras_compat import keras, tf


class TextVariants(NamedTuple):
    """Vectors of the variants of all N items, one item's after the other's.

    Attributes:
        rate: Share of the steps in which a variant is read.
        vectors: float32 [R, E].
        starts: int32 [N] where those of each item begin.
        counts: int32 [N] how many it has.
    """

    rate: float
    vectors: Any
    starts: Any
    counts: Any

    @classmethod
    def of(
        cls, rate: float, lists: Sequence[Sequence[str]], vectors: npt.NDArray[np.float32]
    ) -> TextVariants:
        """Keeps what `variant_texts` found.

        Args:
            rate: Above 0.
            lists: [N] lists of texts, R altogether.
            vectors: float32 [R, E] of them, in their order.
        """
        counts = np.asarray([len(texts) for texts in lists], np.int32)
        starts = (np.cumsum(counts) - counts).astype(np.int32)
        return cls(rate, tf.constant(vectors), tf.constant(starts), tf.constant(counts))

    def drawn(self, items: Any, texts: Any, seeds: Any) -> Any:
        """float32 [M, E]: for some items a variant's vector instead of the text's.

        Args:
            items: int32 [M] catalogue rows.
            texts: float32 [M, E] vectors of their texts.
            seeds: A keras SeedGenerator.
        """
        counts = tf.gather(self.counts, items)
        lots = tf.cast(counts, tf.float32) * keras.random.uniform(tf.shape(items), seed=seeds)
        place = tf.gather(self.starts, items) + tf.minimum(tf.cast(lots, tf.int32), tf.maximum(counts - 1, 0))
        read = (keras.random.uniform(tf.shape(items), seed=seeds) < self.rate) & (counts > 0)
        variants = tf.gather(self.vectors, tf.where(read, place, 0))
        return tf.where(read[:, tf.newaxis], variants, texts)


def variant_texts(dataset: DatasetDirectory, catalogue: Catalogue, rate: float) -> list[tuple[str, ...]]:
    """The variants of each item; nothing where none are wanted.

    Raises:
        DatasetError: they are wanted, and the dataset has none.
    """
    if not rate:
        return []
    feature = dataset.one("items", "item_text_variant")
    lists = [tuple(row) for row in catalogue.columns[feature.name]] if feature is not None else []
    if not any(lists):
        raise DatasetError(
            f"{dataset.path}: train.model.item.text_variants = {rate:g}, but no item has variants of its text. Add "
            "[features.items.text_variants] to the configuration and build again, or leave text_variants out."
        )
    return lists
