"""Texts as word pieces in memory, tokenized once, one text behind the other without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.keras_compat import tf
from trainer.text_encoder import TextEncoder


@dataclass(frozen=True)
class PackedTexts:
    """Tokenized texts.

    Attributes:
        flat: int32 [T] word pieces of all texts, one after the other.
        row_splits: int64 [N + 1] where each text begins; the last entry is T.
    """

    flat: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    @classmethod
    def tokenized(cls, texts: Sequence[str], encoder: TextEncoder) -> PackedTexts:
        """Word pieces of [N] texts as the encoder reads them."""
        pack = tf.function(encoder.pack, input_signature=[tf.TensorSpec([None], tf.string)])
        ragged = pack(tf.constant(list(texts), tf.string))
        return cls(ragged.flat_values.numpy(), ragged.row_splits.numpy())

    def take(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """`flat` and `row_splits` of some of the texts."""
        begins, ends = self.row_splits[rows], self.row_splits[rows + 1]
        splits = np.concatenate([[0], np.cumsum(ends - begins)])
        places = np.repeat(begins - splits[:-1], ends - begins) + np.arange(splits[-1])
        return self.flat[places], splits

    def by_length(self, size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Batches of rows that hold each text once, texts of similar length together."""
        order = np.argsort(np.diff(self.row_splits), kind="stable")
        for start in range(0, len(order), size):
            yield order[start : start + size]
