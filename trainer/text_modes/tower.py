"""The text tower of a training: the texts as word pieces, the BERT that learns from them, and its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.config import TrainConfig
from trainer.keras_compat import tf
from trainer.layerwise import LayerwiseAdamW
from trainer.optimizers.schedules import warmup_cosine
from trainer.packed_texts import PackedTexts
from trainer.text_encoder import TextEncoder
from trainer.text_modes.rows import TextRows
from trainer.text_modes.trainable import TrainableBert

_BATCH = 256  # texts between two reports of progress
_RATES = {"lora": 5e-4}  # Hu 2021, table 9; all other modes as BERT is fine-tuned (Devlin 2018, appendix A.3)
_RATE = 5e-5


class TextTower:
    """Reads the texts of items and query views with a BERT that learns, each distinct text once a step.

    Args:
        encoder: Its backbone learns; `settle` gives what was learned to the encoder itself.
        rows: The texts; tokenized here, so that no step works on strings.
        config: Of the training.

    Raises:
        ConfigError: the encoder does not have the layers that the settings name.
    """

    def __init__(self, encoder: TextEncoder, rows: TextRows, config: TrainConfig) -> None:
        self.encoder = encoder
        self._config = config
        self.rows = rows
        self.bert = TrainableBert(encoder.backbone, config.text, encoder.pool, config.seed)
        packed = PackedTexts.tokenized(rows.texts, encoder)
        self._pieces = tf.RaggedTensor.from_row_splits(packed.flat, packed.row_splits)
        self._lengths = tf.cast(self._pieces.row_lengths(), tf.int32)
        self._items, self._views = tf.constant(rows.items), tf.constant(rows.views)
        self.learning = config.text.learns_at_once
        self.optimizer: Any = None
        self._compiled = tf.function(
            self.vectors, input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False
        )

    def compile(self, steps: int) -> None:
        """Makes the optimizer, whose warm-up begins with the first step in which BERT learns.

        Args:
            steps: Of an epoch.
        """
        text = self._config.text
        rate = warmup_cosine(
            text.learning_rate or _RATES.get(text.mode, _RATE),
            steps=max(1, self._config.epochs - text.unfreeze_after) * steps,
            warmup_steps=text.warmup_steps,
        )
        self.optimizer = LayerwiseAdamW(
            self.bert.factors(text.layer_decay),
            learning_rate=rate,
            weight_decay=text.weight_decay,
            global_clipnorm=self._config.clip_norm,
            name="text_adamw",
        )
        self.optimizer.build(self.bert.variables)

    @property
    def variables(self) -> list[Any]:
        """All that a checkpoint must keep, in a fixed order; `compile` comes first."""
        return [*self.bert.variables, *self.optimizer.variables]

    def of_step(self, items: Any, targets: Any, asked: Any) -> tuple[Any, Any]:
        """Text vectors of a step's items and queries, with gradients.

        Args:
            items: int32 [M] catalogue rows.
            targets: int32 [Q] catalogue rows whose query views are read.
            asked: Which queries have a text, an `AskedTexts`; None in a model without text queries.

        Returns:
            float32 [M, E] and float32 [Q, E], or [Q, 2, E] where some ask twice; zeros where there is no text.
        """
        queries = [tf.zeros_like(targets)] if asked is None else self._asked_rows(targets, asked)
        rows = tf.concat([[0], tf.gather(self._items, items), *queries], axis=0)
        distinct, where = tf.unique(rows)  # the blank text comes first
        vectors = tf.pad(self.vectors(distinct[1:]), [[1, 0], [0, 0]])
        found = tf.gather(vectors, where[1:])
        said = tf.split(found[tf.size(items) :], len(queries))
        return found[: tf.size(items)], said[0] if len(said) == 1 else tf.stack(said, axis=1)

    def _asked_rows(self, targets: Any, asked: Any) -> list[Any]:
        """int32 [Q] texts of the first wishes, and of the second ones if there may be some; 0 = none."""
        wishes = [(asked.view, asked.asks)]
        if asked.also is not None:
            wishes.append((tf.maximum(asked.also, 0), asked.also >= 0))
        return [
            tf.where(asks, tf.gather_nd(self._views, tf.stack([targets, view], axis=1)), 0)
            for view, asks in wishes
        ]

    def vectors(self, rows: Any) -> Any:
        """float32 [S, E] vectors of int32 [S] texts, none of them blank, each encoded at its true length."""
        order = tf.argsort(tf.gather(self._lengths, rows), stable=True)
        encoded = self.bert(tf.gather(self._pieces, tf.gather(rows, order)))
        return tf.gather(encoded, tf.math.invert_permutation(order))

    def learn(self, gradients: Sequence[Any]) -> None:
        """One step of the optimizer with the gradients of `bert.variables`."""
        slopes = [tf.convert_to_tensor(slope) for slope in gradients]
        self.optimizer.apply_gradients(zip(slopes, self.bert.variables, strict=True))

    def item_vectors(self, progress: Callable[[int], Any] | None = None) -> npt.NDArray[np.float32]:
        """float32 [N, E] text vectors of the catalogue by the weights as they are now.

        Args:
            progress: Called with the number of distinct texts done.
        """
        distinct = np.setdiff1d(self.rows.items, [0])
        distinct = distinct[np.argsort(self._lengths.numpy()[distinct], kind="stable")]
        table = np.zeros((len(self.rows.texts), self.encoder.width), np.float32)
        for start in range(0, len(distinct), _BATCH):
            part = distinct[start : start + _BATCH]
            table[part] = self._compiled(tf.constant(part)).numpy()
            if progress is not None:
                progress(len(part))
        return table[self.rows.items]

    def settle(self) -> None:
        """Gives what was learned to the encoder, which serves with it from here on; nothing is learned after it."""
        self.bert.merge()
        self.encoder.take_weights()
