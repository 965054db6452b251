"""The two-tower model of the TensorFlow Recommenders tutorials: what one has after an afternoon with the library."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.baselines.base import LearnOnce, item_counts
from trainer.evaluation.queries import NO_ITEM, EvaluationQueries
from trainer.evaluation.ranking import Scorer, Scores

CONTEXT = 10
BATCH = 4096
_EPOCHS = (3, 10)

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
        seed: Of initial weights and of the order of events.
        learn: Shares a training with other instances that differ only in `epochs`.
    """

    name = "TFRS tutorial"

    def __init__(
        self,
        width: int = 32,
        learning_rate: float = 0.1,
        epochs: int = 3,
        seed: int = 0,
        learn: LearnOnce[_Towers] | None = None,
    ) -> None:
        self.width, self.learning_rate, self.epochs, self.seed = width, learning_rate, epochs, seed
        self._learn = learn or _learner(width, learning_rate, (epochs,), seed)
        self._counts = np.zeros(0, np.float32)
        self._towers: Any = None

    @classmethod
    def grid(cls, seed: int = 0) -> Iterator[TFRSTutorial]:
        """The 8 settings that tuning tries, the tutorial's own first."""
        for width, learning_rate in itertools.product((32, 128), (0.1, 0.3)):
            learn = _learner(width, learning_rate, _EPOCHS, seed)
            for epochs in _EPOCHS:
                yield cls(width, learning_rate, epochs, seed, learn)

    def settings(self) -> dict[str, object]:
        """The settings by name."""
        return {"width": self.width, "learning_rate": self.learning_rate, "epochs": self.epochs}

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


def _learner(width: int, learning_rate: float, epochs: Sequence[int], seed: int) -> LearnOnce[_Towers]:
    def learn(
        train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> _Towers:
        starts = np.zeros(len(row_splits) - 1, np.int64)
        events = EvaluationQueries.from_sequences(train_items, row_splits, starts)
        events = events.take(np.flatnonzero(events.history_lengths() > 0))
        histories = events.histories(0, len(events), CONTEXT)
        return _train(histories, events.target_items(), num_items, width, learning_rate, epochs, seed)

    return LearnOnce(learn)


def _query_tower(num_items: int, width: int) -> Any:
    from trainer.keras_compat import keras

    tower = keras.Sequential(
        [keras.layers.Embedding(num_items + 1, width, mask_zero=True), keras.layers.GRU(width)]
    )
    tower.build((None, CONTEXT))
    return tower


def _train(
    histories: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int32],
    num_items: int,
    width: int,
    learning_rate: float,
    epochs: Sequence[int],
    seed: int,
) -> _Towers:
    """The towers after each of these numbers of epochs."""
    from trainer.keras_compat import keras, tf, tfrs

    keras.utils.set_random_seed(seed)
    query_tower, candidates = _query_tower(num_items, width), keras.layers.Embedding(num_items, width)
    candidates.build(None)
    task = tfrs.tasks.Retrieval()
    variables = [*query_tower.trainable_variables, *candidates.trainable_variables]
    optimizer = keras.optimizers.Adagrad(learning_rate)
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(context: Any, wanted: Any) -> None:
        with tf.GradientTape() as tape:
            loss = task(query_tower(context, training=True), candidates(wanted), compute_metrics=False)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    found: _Towers = {}
    rng = np.random.default_rng(seed)
    for epoch in range(1, max(epochs) + 1):
        order = rng.permutation(len(targets))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            step(tf.constant(histories[rows] + 1), tf.constant(targets[rows]))
        if epoch in epochs:
            found[epoch] = _as_it_is(query_tower, num_items, width), candidates.embeddings.numpy()
    return found


def _as_it_is(query_tower: Any, num_items: int, width: int) -> Any:
    """A copy that further training does not change."""
    from trainer.keras_compat import tf

    copy = _query_tower(num_items, width)
    copy.set_weights(query_tower.get_weights())
    return tf.function(lambda context: copy(context, training=False), reduce_retracing=True)
