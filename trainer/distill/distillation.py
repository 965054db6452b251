"""The student as Keras trains it: vectors like the teacher's, and optionally lists like the ranking teacher's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.distill.config import DistillConfig
from trainer.distill.ranking import RankingTeacher, SoftLists, divergence
from trainer.keras_compat import keras, tf
from trainer.optimizers.schedules import warmup_cosine
from trainer.packed_bert import encode_packed, weights_of
from trainer.packed_texts import PackedTexts
from trainer.text_encoder import TextEncoder

_TINY = 1e-12


class Distillation(keras.Model):  # type: ignore[misc]
    """Learns from word pieces, the teacher's vectors of them, and its lists.

    Args:
        config: Weights of the losses, what is trained.
        student: Whose backbone is trained; its variables change.
        ranking: Scores lists with the student's vectors; None = no such loss.
    """

    def __init__(self, config: DistillConfig, student: TextEncoder, ranking: RankingTeacher | None) -> None:
        super().__init__(name="distillation")
        self.config = config
        self.backbone = student.backbone
        self.backbone.trainable = True
        for table in (
            self.backbone.token_embedding,
            self.backbone.position_embedding,
            self.backbone.segment_embedding,
        ):
            table.trainable = config.train_embeddings
        self.backbone.pooled_dense.trainable = False
        self._pool = student.pool
        self._ranking = ranking
        names = ("loss", "cosine_loss", "mse_loss", *(("ranking_loss",) if ranking else ()))
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True
        specs = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64))
        self._compiled = tf.function(self._vectors, input_signature=specs)

    def vectors(self, flat: Any, row_splits: Any) -> Any:
        """float32 [B, E] of int32 [T] word pieces, text b from `row_splits[b]` on (int64 [B + 1])."""
        return self._compiled(flat, row_splits)

    def _vectors(self, flat: Any, row_splits: Any) -> Any:
        pieces = tf.RaggedTensor.from_row_splits(flat, row_splits, validate=False)
        states = encode_packed(weights_of(self.backbone), pieces, int(self.backbone.num_heads))
        return self._pool(states, tf.cast(pieces.row_lengths(), tf.int32))

    def losses_of(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Every loss of a batch by name, unweighted; arguments as `train_step` takes them."""
        came, wanted = self._vectors(batch["flat"], batch["row_splits"]), batch["vector"]
        losses = {
            "cosine_loss": tf.reduce_mean(1.0 - cosines(came, wanted)),
            "mse_loss": relative_error(came, wanted),
        }
        if self._ranking is not None:
            scores = self._ranking.retrieval_scores(came, batch["rows"])
            losses["ranking_loss"] = divergence(batch["scores"], scores, self.config.ranking_temperature)
        return losses

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step.

        Args:
            batch: "flat" and "row_splits" as `vectors` takes them, "vector" float32 [B, E] the teacher's; with a
                ranking teacher "rows" int32 [B, K] and "scores" float32 [B, K].
        """
        weights = {
            "cosine_loss": self.config.cosine_weight,
            "mse_loss": self.config.mse_weight,
            "ranking_loss": self.config.ranking_weight,
        }
        with tf.GradientTape() as tape:
            losses = self.losses_of(batch)
            total = tf.add_n([weights[name] * value for name, value in losses.items()])
        variables = self.trainable_variables
        gradients = tape.gradient(total, [variable.value for variable in variables])
        self.optimizer.apply_gradients(
            [
                (tf.convert_to_tensor(slope), variable)
                for slope, variable in zip(gradients, variables, strict=True)
            ]
        )
        for name, value in {"loss": total, **losses}.items():
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}

    @property
    def metrics(self) -> list[Any]:
        """What is averaged over an epoch."""
        return list(self._means.values())


def cosines(a: Any, b: Any) -> Any:
    """float32 [B] cosines of the rows of two float32 [B, E]."""
    return tf.reduce_sum(tf.math.l2_normalize(a, axis=1) * tf.math.l2_normalize(b, axis=1), axis=1)


def relative_error(came: Any, wanted: Any) -> Any:
    """Mean squared difference of two float32 [B, E], as a share of the mean square of the second."""
    scale = tf.reduce_mean(tf.square(wanted))
    return tf.reduce_mean(tf.square(came - wanted)) / tf.maximum(scale, _TINY)


def make_optimizer(config: DistillConfig, steps: int) -> Any:
    """AdamW; `steps` are those of the whole training."""
    rate = warmup_cosine(config.learning_rate, steps=steps, warmup_steps=int(config.warmup_share * steps))
    return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=1.0)


def training_batches(
    pieces: PackedTexts,
    rows: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.float32],
    lists: SoftLists | None,
    config: DistillConfig,
    first_epoch: int,
) -> Any:
    """Batches of all epochs from `first_epoch` on, in an order that depends on seed and epoch alone.

    Args:
        pieces: All texts.
        rows: int64 [M] those to learn from.
        vectors: float32 [N, E] the teacher's, of all texts.
        lists: The ranking teacher's, of all texts.
        config: Seed, epochs and batch size.
        first_epoch: Where a resumed run goes on.

    Returns:
        A tf.data.Dataset of what `Distillation.train_step` takes.
    """

    def batches() -> Iterator[dict[str, Any]]:
        for epoch in range(first_epoch, config.epochs):
            order = np.random.default_rng([config.seed, epoch]).permutation(rows)
            for start in range(0, len(order), config.batch_size):
                chosen = order[start : start + config.batch_size]
                flat, splits = pieces.take(chosen)
                batch = {"flat": flat, "row_splits": splits, "vector": vectors[chosen]}
                yield batch | (
                    {} if lists is None else {"rows": lists.rows[chosen], "scores": lists.scores[chosen]}
                )

    signature = {
        "flat": tf.TensorSpec([None], tf.int32),
        "row_splits": tf.TensorSpec([None], tf.int64),
        "vector": tf.TensorSpec([None, vectors.shape[1]], tf.float32),
    }
    if lists is not None:
        signature["rows"] = tf.TensorSpec([None, lists.rows.shape[1]], tf.int32)
        signature["scores"] = tf.TensorSpec([None, lists.rows.shape[1]], tf.float32)
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
