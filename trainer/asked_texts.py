"""Which queries of a training step are asked in words, and in which."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainer.keras_compat import keras, tf
from trainer.train_config import QueryTextConfig


class AskedTexts(NamedTuple):
    """Which queries of a step have a text.

    Attributes:
        view: int32 [Q] which of the target's query views it is.
        asks: bool [Q] whether there is one at all.
        alone: bool [Q] whether the history is hidden besides.
        also: int32 [Q] the view that is a second wish, -1 = there is none; None = nowhere.
    """

    view: Any
    asks: Any
    alone: Any
    also: Any = None

    @classmethod
    def drawn(cls, settings: QueryTextConfig, queries: Any, views: int, seeds: Any) -> AskedTexts:
        """Draws for as many queries as int32 scalar `queries` says, each of which could be asked in `views` ways."""
        shape = [queries]
        view = keras.random.randint(shape, 0, views, dtype="int32", seed=seeds)
        asks = keras.random.uniform(shape, seed=seeds) < settings.rate
        alone = asks & (keras.random.uniform(shape, seed=seeds) < settings.without_history)
        if not settings.several or views < 2:
            return cls(view, asks, alone)
        other = (view + keras.random.randint(shape, 1, views, dtype="int32", seed=seeds)) % views
        twice = asks & (keras.random.uniform(shape, seed=seeds) < settings.several)
        return cls(view, asks, alone, tf.where(twice, other, -1))

    def vectors(self, targets: Any, views: Any) -> Any:
        """What is asked for int32 [Q] targets, of float32 [N, V, E] query views.

        Returns:
            float32 [Q, E], zeros where nothing is asked; [Q, 2, E] where some ask twice.
        """

        def of(view: Any, asks: Any) -> Any:
            vectors = tf.gather_nd(views, tf.stack([targets, view], axis=1))
            return vectors * tf.cast(asks, tf.float32)[:, tf.newaxis]

        if self.also is None:
            return of(self.view, self.asks)
        return tf.stack([of(self.view, self.asks), of(tf.maximum(self.also, 0), self.also >= 0)], axis=1)
