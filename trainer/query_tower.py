"""The query tower: what is wanted now, from the history, the user and a free-text wish, as one vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.features import FeatureSpecs
from trainer.fusion import Fusion
from trainer.item_tower import FeatureVectors
from trainer.keras_compat import keras, tf
from trainer.train_config import ModelConfig
from trainer.transformer import Packing, TransformerBlock

_GAP_BUCKETS = 32


def gap_buckets(timestamps: Any, mask: Any) -> Any:
    """Time since the previous event, in logarithmic buckets of seconds.

    Args:
        timestamps: int64 [B, L] Unix seconds, oldest first; 0 = unknown.
        mask: bool [B, L] real events.

    Returns:
        int32 [B, L]; 0 for the first event, for padding and where a time is unknown.
    """
    previous = tf.pad(timestamps[:, :-1], [[0, 0], [1, 0]])
    known = mask & (timestamps > 0) & (previous > 0)
    seconds = tf.cast(tf.maximum(timestamps - previous, 0), tf.float32)
    bucket = 1 + tf.cast(tf.math.log1p(seconds) / tf.math.log(2.0), tf.int32)
    return tf.where(known, tf.minimum(bucket, _GAP_BUCKETS - 1), 0)


class QueryTower(keras.layers.Layer):  # type: ignore[misc]
    """A causal Transformer over item vectors, fused with user features and query text.

    Args:
        config: Of the model.
        user_specs: The user features; none = no such part.
        text_width: E of the text vectors, 0 = no free-text queries.
        event_types: Number of event types that are told apart.
        unwanted: How much of what unwanted words add to a query is taken away.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        user_specs: FeatureSpecs,
        text_width: int,
        event_types: int,
        unwanted: float = 1.0,
    ) -> None:
        super().__init__(name="query_tower")
        self.unwanted = unwanted
        self.config = config
        self.width = config.embedding_dim
        self.text_width = text_width
        history = config.history
        self._user = FeatureVectors(user_specs, self.width, name="user_features") if user_specs else None
        self._gaps = (
            keras.layers.Embedding(_GAP_BUCKETS, self.width, name="time_gap") if history.time_gaps else None
        )
        self._events = (
            keras.layers.Embedding(event_types + 1, self.width, name="event_type")
            if history.event_types
            else None
        )
        self._blocks = [
            TransformerBlock(
                self.width, history.heads, history.max_length + 1, history.dropout, name=f"block_{index}"
            )
            for index in range(history.blocks)
        ]
        self._norm_input = keras.layers.LayerNormalization(epsilon=1e-6, name="norm_input")
        self._norm_output = keras.layers.LayerNormalization(epsilon=1e-6, name="norm_output")
        self._drop = keras.layers.Dropout(history.dropout)
        self._fusion = (
            Fusion(self.width, "gate", history.dropout, name="fusion") if self._user or text_width else None
        )

    def build(self, input_shape: Any = None) -> None:
        """Builds all parts."""
        sequence = (None, None, self.width)
        self._start = self.add_weight(shape=(self.width,), initializer="glorot_uniform", name="start")
        for layer in (self._norm_input, self._norm_output, *self._blocks):
            layer.build(sequence)
        for embedding in (self._gaps, self._events):
            if embedding is not None:
                embedding.build(None)
        widths = [self.width]
        if self._user is not None:
            self._user.build()
            widths += self._user.widths()
        if self.text_width:
            self._text_place = len(widths)
            widths.append(self.text_width)
        if self._fusion is not None:
            self._fusion.build([(None, width) for width in widths])
        self.built = True

    def states(self, history: dict[str, Any], training: bool | None = None) -> Any:
        """What is known after each event of a history.

        Args:
            history: "vectors" float32 [B, L, D] item vectors, oldest first, padding on the right; "mask" bool [B, L];
                and if the model uses them "timestamps" int64 [B, L], "events" int32 [B, L] (0 = unknown type).
            training: Whether to drop.

        Returns:
            float32 [B, L + 1, D]: row t is the state after t events; row 0 knows nothing of the user.
        """
        mask = history["mask"]
        x = history["vectors"] * (self.width**0.5)
        if self._gaps is not None:
            x += self._gaps(gap_buckets(history["timestamps"], mask))
        if self._events is not None:
            x += self._events(history["events"])
        start = tf.broadcast_to(tf.convert_to_tensor(self._start), [tf.shape(x)[0], 1, self.width])
        x = tf.concat([start, x], axis=1)
        packing = None
        if training and self.config.history.skip_padding:
            packing = Packing.of(tf.pad(mask, [[0, 0], [1, 0]], constant_values=True))
            x = packing.pack(x)
        x = self._drop(self._norm_input(x), training=training)
        for block in self._blocks:
            x = block(x, training=training, packing=packing)
        x = self._norm_output(x)
        return x if packing is None else packing.unpack(x)

    def combine(
        self, state: Any, user: dict[str, Any] | None, text: Any | None, training: bool | None = None
    ) -> Any:
        """The query vector.

        Args:
            state: float32 [Q, D] state of the history.
            user: What `FeatureLookup` returns for the user features, each [Q, ...].
            text: float32 [Q, E] vector of the query text, zeros = no text; or [Q, W, E] of several wishes.
            training: Whether to drop.

        Returns:
            float32 [Q, D].
        """
        if self._fusion is None:
            return state
        components, present = [state], [tf.ones([tf.shape(state)[0]], tf.bool)]
        if self._user is not None:
            vectors, there = self._user(user)
            components += vectors
            present += there
        if self.text_width:
            components.append(self._one_text(state, text))
            present.append(tf.reduce_any(components[-1] != 0, axis=1))
        return state + self._fusion(components, present, training=training)

    def _one_text(self, state: Any, texts: Any) -> Any:
        """float32 [Q, E] of float32 [Q, W, E] wishes, exactly the wish where there is one; [Q, E] as they are.

        Attention (Vaswani 2017, section 3.2.1) in the space in which the fusion adds state and text: the state of the
        history asks, each wish is a key, and a value as it came.
        """
        if texts.shape.rank == 2 or self._fusion is None:
            return texts
        there = tf.reduce_any(texts != 0, axis=2)
        asks = self._fusion.projected(0, state)
        keys = self._fusion.projected(self._text_place, texts)
        scores = tf.linalg.matvec(keys, asks) * self.width**-0.5
        weights = tf.nn.softmax(tf.where(there, scores, np.float32(-1e9)), axis=1)
        return tf.linalg.matvec(texts, weights * tf.cast(there, tf.float32), transpose_a=True)

    def _spared(self, first: Any, user: dict[str, Any] | None, wanted: Any | None, unwanted: Any) -> Any:
        """What unwanted words alone add to the query of somebody without history.

        What they share with the wish is not held against it: in "a horror film, not Alien" both say horror. So their
        part along what the wanted words add is left out. (Widdows 2003, "Orthogonal negation in vector spaces",
        projects the other way, the wish off the unwanted words, which takes from the wish what both share.)

        Args:
            first: float32 [B, D] state that knows nothing.
            user: As `combine` takes it.
            wanted: As `combine` takes a text.
            unwanted: float32 [B, E].

        Returns:
            float32 [B, D], zeros where no words are unwanted.
        """

        def alone() -> Any:
            silent = self.combine(first, user, tf.zeros_like(unwanted), training=False)
            spared = self.combine(first, user, unwanted, training=False) - silent
            if wanted is not None:
                wish = self.combine(first, user, wanted, training=False) - silent
                shared = tf.reduce_sum(spared * wish, axis=1, keepdims=True)
                size = tf.reduce_sum(wish * wish, axis=1, keepdims=True)
                spared -= wish * tf.maximum(tf.math.divide_no_nan(shared, size), 0.0)
            return tf.where(there[:, tf.newaxis], spared, tf.zeros_like(first))

        there = tf.reduce_any(unwanted != 0, axis=1)
        return tf.cond(tf.reduce_any(there), alone, lambda: tf.zeros_like(first))

    def call(
        self,
        history: dict[str, Any],
        user: dict[str, Any] | None,
        text: Any | None,
        unwanted: Any | None = None,
    ) -> Any:
        """Query vectors of whole histories, for evaluation and serving.

        Args:
            history: As `states` takes it; each row's real events stand before its padding.
            user: As `combine` takes it, [B, ...].
            text: As `combine` takes it, [B, E] or [B, W, E].
            unwanted: float32 [B, E] vectors of what is not wanted, zeros = nothing; None = nothing in any row.

        Returns:
            float32 [B, D].
        """
        states = self.states(history, training=False)
        last = tf.reduce_sum(tf.cast(history["mask"], tf.int32), axis=1)
        query = self.combine(tf.gather(states, last, batch_dims=1), user, text, training=False)
        if unwanted is None or not self.text_width:
            return query
        return query - self.unwanted * self._spared(states[:, 0], user, text, unwanted)
