"""The text classifier as Keras trains it: a BERT without padding, the unit mean of its last layer, one dense layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.intent.config import IntentConfig
from trainer.intent.pieces import WordPieces
from trainer.intent.vectors import Floats, class_means
from trainer.keras_compat import keras, tf
from trainer.layerwise import LayerwiseAdamW, bert_factors
from trainer.packed_bert import encode_packed, weights_of
from trainer.packed_texts import PackedTexts
from trainer.text_encoder import TextEncoder

_BATCH = 256  # texts encoded at once where nothing is trained


class IntentClassifier(keras.Model):  # type: ignore[misc]
    """Learns from word pieces of a batch and their labels.

    Args:
        config: Dropout, label smoothing, what is trained.
        encoder: Whose BERT is trained; its variables change.
        classes: C.
    """

    def __init__(self, config: IntentConfig, encoder: TextEncoder, classes: int) -> None:
        super().__init__(name="intent_classifier")
        self.config = config
        self.backbone = encoder.backbone
        self.backbone.trainable = True
        self.backbone.token_embedding.trainable = config.train_embeddings
        self.backbone.pooled_dense.trainable = False
        self.head = keras.layers.Dense(classes, name="head")
        self.head.build((None, encoder.width))
        self.classes = classes
        self._seeds = keras.random.SeedGenerator(config.seed)
        self._losses_seen = keras.metrics.Mean(name="loss")
        self.built = True
        specs = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64))
        self._most_likely = tf.function(
            lambda flat, row_splits: tf.argmax(self.logits(flat, row_splits), axis=1), input_signature=specs
        )
        self._vectors = tf.function(self.vectors, input_signature=specs)

    def most_likely(self, flat: Any, row_splits: Any) -> Any:
        """The classes with the highest scores: int64 [B]; arguments as `logits` takes them."""
        return self._most_likely(flat, row_splits)

    def begin_with_means(self, pieces: WordPieces) -> None:
        """Sets the dense layer to the mean vector of each class (Qi 2018), so that BERT need not follow a random one.

        Args:
            pieces: What is learned from.
        """
        means = class_means(self.read(pieces), pieces.labels, self.classes)
        self.head.kernel.assign(self.config.scale * means.T)

    def read(self, pieces: PackedTexts) -> Floats:
        """float32 [N, W] vectors of texts."""
        found = np.zeros((len(pieces), int(self.backbone.hidden_dim)), np.float32)
        for rows in pieces.by_length(_BATCH):
            found[rows] = self._vectors(*pieces.take(rows)).numpy()
        return found

    def vectors(self, flat: Any, row_splits: Any, training: bool = False) -> Any:
        """What the dense layer reads.

        Args:
            flat: int32 [T] word pieces of all texts.
            row_splits: int64 [B + 1] where each text begins; the last entry is T.
            training: Whether to drop.

        Returns:
            float32 [B, W] of length 1.
        """
        pieces = tf.RaggedTensor.from_row_splits(flat, row_splits, validate=False)
        states = encode_packed(
            weights_of(self.backbone),
            pieces,
            int(self.backbone.num_heads),
            lambda x: self._dropped(x, training),
        )
        return unit_means(states, pieces)

    def logits(self, flat: Any, row_splits: Any, training: bool = False) -> Any:
        """Scores before the softmax, float32 [B, C]; arguments as `vectors` takes them."""
        return self.head(self._dropped(self.vectors(flat, row_splits, training), training))

    def _dropped(self, x: Any, training: bool) -> Any:
        rate = self.config.dropout if training else 0.0
        return keras.random.dropout(x, rate, seed=self._seeds) if rate else x

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step on {"flat", "row_splits", "label": int32 [B]}."""
        with tf.GradientTape() as tape:
            loss = self._loss(batch["flat"], batch["row_splits"], batch["label"])
        variables = self.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizer.apply_gradients(
            [
                (tf.convert_to_tensor(slope), variable)
                for slope, variable in zip(gradients, variables, strict=True)
            ]
        )
        self._losses_seen.update_state(loss)
        return {"loss": self._losses_seen.result()}

    def _loss(self, flat: Any, row_splits: Any, label: Any) -> Any:
        smooth, weight = self.config.label_smoothing, self.config.consistency
        if weight:  # every text twice in one batch, each time with its own dropout
            row_splits = tf.concat([row_splits, row_splits[1:] + row_splits[-1]], axis=0)
            flat, label = (tf.concat([twice, twice], axis=0) for twice in (flat, label))
        logits = self.logits(flat, row_splits, training=True)
        target = tf.one_hot(label, self.classes) * (1.0 - smooth) + smooth / self.classes
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
        return loss + weight * divergence(*tf.split(logits, 2)) / 4.0 if weight else loss

    @property
    def metrics(self) -> list[Any]:
        """What is averaged over an epoch."""
        return [self._losses_seen]


def unit_means(states: Any, pieces: Any) -> Any:
    """float32 [B, W] means of length 1 of float32 [T, W] states of ragged [B, (T)] word pieces."""
    means = tf.math.segment_mean(states, tf.cast(pieces.value_rowids(), tf.int32))
    return tf.math.l2_normalize(means, axis=1)


def divergence(one: Any, other: Any) -> Any:
    """Mean over rows of KL(p, q) + KL(q, p) of the distributions that float32 [B, C] scores stand for."""
    p, q = tf.nn.softmax(one), tf.nn.softmax(other)
    gap = tf.nn.log_softmax(one) - tf.nn.log_softmax(other)
    return tf.reduce_mean(tf.reduce_sum((p - q) * gap, axis=1))


def make_optimizer(config: IntentConfig, classifier: IntentClassifier, steps: int) -> Any:
    """AdamW by layer with a linear warm-up and a linear way down to zero (Devlin 2018, appendix A.2).

    Args:
        config: Rates and shares.
        classifier: What is trained.
        steps: Of the whole training.
    """
    warmup = int(config.warmup_share * steps)
    rate: Any = keras.optimizers.schedules.PolynomialDecay(
        config.learning_rate, max(1, steps - warmup), end_learning_rate=0.0
    )
    factors = bert_factors(classifier.backbone, config.layer_decay)
    above = config.head_learning_rate / config.learning_rate
    factors |= {weight.path: above for weight in classifier.head.weights}
    optimizer = LayerwiseAdamW(
        factors,
        learning_rate=_Warmup(rate, warmup) if warmup else rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
    )
    optimizer.build(classifier.trainable_variables)
    return optimizer


class _Warmup(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Rises linearly to the first value of another schedule, then follows it."""

    def __init__(self, then: Any, steps: int) -> None:
        super().__init__()
        self._then, self._steps = then, steps

    def __call__(self, step: Any) -> Any:
        done = tf.cast(step, tf.float32) / self._steps
        return tf.minimum(done, 1.0) * self._then(tf.maximum(step - self._steps, 0))
