"""The two-tower model of the TensorFlow Recommenders tutorials: what one has after an afternoon with the library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.baselines.base import LearnOnce, item_counts
from trainer.evaluation.queries import NO_ITEM, EvaluationQueries
from trainer.evaluation.ranking import Scorer, Scores

CONTEXT = 10
_EPOCHS = (3, 10, 20)

#: By the number of epochs: the query tower, over int32 [B, CONTEXT] item numbers + 1, and float32 [N, width] items.
_Towers = dict[int, tuple[Any, npt.NDArray[np.float32]]]


class TFRSTutorial:
    """The tutorial "Recommending movies: retrieval using a sequential model" of TensorFlow Recommenders.

    A GRU over the embeddings of the last ten items is the query tower, an embedding the candidate tower, the loss
    `tfrs.tasks.Retrieval` over the items of the batch, the optimizer Adagrad; IDs alone, as published. The tutorial
    with a table of user vectors cannot answer for users after a cut in time, so this one stands here.

    Args:
        width: Of both towers; the tutorial has 32.
        learning_rate: Of Adagrad; the tutorial has 0.1.
        epochs: Passes over the events; the tutorial has 3.
        batch: Events a step; the tutorial has thousands.
        seed: Of initial weights and of the order of events.
        learn: Shares a training with other instances that differ only in `epochs`.
    """

    name = "TFRS tutorial"

    def __init__(
        self,
        width: int = 32,
        learning_rate: float = 0.1,
        epochs: int = 3,
        batch: int = 4096,
        seed: int = 0,
        learn: LearnOnce[_Towers] | None = None,
    ) -> None:
        self.width, self.learning_rate, self.epochs, self.batch = width, learning_rate, epochs, batch
        self._learn = learn or _learner(width, learning_rate, (epochs,), batch, seed)
        self._counts = np.zeros(0, np.float32)
        self._towers: Any = None

    @classmethod
    def grid(cls, seed: int = 0) -> Iterator[TFRSTutorial]:
        """The 7 settings that tuning tries, the tutorial's own first, then more and smaller steps."""
        yield cls(seed=seed)
        for learning_rate in (0.1, 0.3):
            learn = _learner(32, learning_rate, _EPOCHS, 512, seed)
            for epochs in _EPOCHS:
                yield cls(32, learning_rate, epochs, 512, seed, learn)

    def settings(self) -> dict[str, object]:
        """The settings by name."""
        return {
            "width": self.width,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "batch": self.batch,
        }

    def fit(
        self, train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> TFRSTutorial:
        """Trains both towers; arguments as in :class:`~trainer.evaluation.baselines.base.Baseline`."""
        self._counts = item_counts(train_items, num_items)
        self._towers = self._learn(train_items, row_splits, num_items)[self.epochs]
        return self

    def scorer(self, queries: EvaluationQueries) -> Scorer:
        """Products of the towers; popularity serves an empty history."""
        query_tower, items = self._towers

        def score(start: int, stop: int) -> Scores:
            histories = queries.histories(start, stop, CONTEXT)
            scores: Scores = np.asarray(query_tower(histories + 1)) @ items.T
            scores[(histories == NO_ITEM).all(axis=1)] = self._counts
            return scores

        return score


def _learner(
    width: int, learning_rate: float, epochs: Sequence[int], batch: int, seed: int
) -> LearnOnce[_Towers]:
    def learn(
        train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> _Towers:
        starts = np.zeros(len(row_splits) - 1, np.int64)
        events = EvaluationQueries.from_sequences(train_items, row_splits, starts)
        events = events.take(np.flatnonzero(events.history_lengths() > 0))
        histories = events.histories(0, len(events), CONTEXT)
        towers = _Training(num_items, width, learning_rate, seed)
        return towers.run(histories, events.target_items(), epochs, batch)

    return LearnOnce(learn)


class _Training:
    """Both towers and what trains them."""

    def __init__(self, num_items: int, width: int, learning_rate: float, seed: int) -> None:
        from trainer.keras_compat import keras, tf, tfrs

        keras.utils.set_random_seed(seed)
        self._size, self._seed = (num_items, width), seed
        self._query_tower = _query_tower(num_items, width)
        self._candidates = keras.layers.Embedding(num_items, width)
        self._candidates.build(None)
        task = tfrs.tasks.Retrieval()
        variables = [*self._query_tower.trainable_variables, *self._candidates.trainable_variables]
        optimizer = keras.optimizers.Adagrad(learning_rate)
        optimizer.build(variables)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def step(context: Any, wanted: Any) -> None:
            with tf.GradientTape() as tape:
                queries = self._query_tower(context, training=True)
                loss = task(queries, self._candidates(wanted), compute_metrics=False)
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

        self._step = step

    def run(
        self,
        histories: npt.NDArray[np.int32],
        targets: npt.NDArray[np.int32],
        epochs: Sequence[int],
        batch: int,
    ) -> _Towers:
        """The towers after each of these numbers of epochs."""
        from trainer.keras_compat import tf

        found: _Towers = {}
        rng = np.random.default_rng(self._seed)
        for epoch in range(1, max(epochs) + 1):
            order = rng.permutation(len(targets))
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                self._step(tf.constant(histories[rows] + 1), tf.constant(targets[rows]))
            if epoch in epochs:
                found[epoch] = self._as_they_are()
        return found

    def _as_they_are(self) -> tuple[Any, npt.NDArray[np.float32]]:
        """Copies that further training does not change."""
        from trainer.keras_compat import tf

        copy = _query_tower(*self._size)
        copy.set_weights(self._query_tower.get_weights())
        contexts = tf.TensorSpec([None, CONTEXT], tf.int32)
        call = tf.function(lambda context: copy(context, training=False)).get_concrete_function(contexts)
        return call, self._candidates.embeddings.numpy()


def _query_tower(num_items: int, width: int) -> Any:
    from trainer.keras_compat import keras

    tower = keras.Sequential(
        [keras.layers.Embedding(num_items + 1, width, mask_zero=True), keras.layers.GRU(width)]
    )
    tower.build((None, CONTEXT))
    return tower
