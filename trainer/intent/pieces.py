"""Texts as word pieces in memory, tokenized once, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.intent.config import IntentConfig
from trainer.intent.labelled import LabelledTexts
from trainer.keras_compat import tf
from trainer.packed_texts import PackedTexts
from trainer.text_encoder import TextEncoder


@dataclass(frozen=True)
class WordPieces(PackedTexts):
    """Tokenized texts and their classes.

    Attributes:
        labels: int32 [N] classes.
    """

    labels: npt.NDArray[np.int32]

    @classmethod
    def of(cls, texts: LabelledTexts, encoder: TextEncoder, classes: Sequence[str]) -> WordPieces:
        """Tokenizes; every label must be one of the classes."""
        packed = PackedTexts.tokenized(texts.texts, encoder)
        place = {label: number for number, label in enumerate(classes)}
        labels = np.asarray([place[label] for label in texts.labels], np.int32)
        return cls(packed.flat, packed.row_splits, labels)


def training_batches(pieces: WordPieces, config: IntentConfig, first_epoch: int) -> Any:
    """Batches of all epochs from `first_epoch` on, in an order that depends on seed and epoch alone.

    Returns:
        A tf.data.Dataset of what `IntentClassifier.train_step` takes.
    """

    def batches() -> Iterator[dict[str, Any]]:
        for epoch in range(first_epoch, config.epochs):
            order = np.random.default_rng([config.seed, epoch]).permutation(len(pieces))
            for start in range(0, len(order), config.batch_size):
                rows = order[start : start + config.batch_size]
                flat, splits = pieces.take(rows)
                yield {"flat": flat, "row_splits": splits, "label": pieces.labels[rows]}

    signature = {
        "flat": tf.TensorSpec([None], tf.int32),
        "row_splits": tf.TensorSpec([None], tf.int64),
        "label": tf.TensorSpec([None], tf.int32),
    }
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
