"""The ranking teacher: what the ranking head says of the best items for a text, as soft labels for the student.

A text stands for the query of a user of whom nothing else is known. The teacher retrieves a list for it and the ranking
head scores the list; the student's retrieval scores of the same list shall have the same softmax (Hinton 2015, and
list-wise as ListNet, Cao 2007, section 4). So what only the ranking head knew reaches the retrieval of the student.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.model import TwoTowerModel
from trainer.preparation import Preparation, feature_names
from trainer.scoring import encode_catalogue

_BATCH = 256


class SoftLists(NamedTuple):
    """Lists that the student learns to score.

    Attributes:
        rows: int32 [N, K] catalogue rows of the best items for each text.
        scores: float32 [N, K] what the ranking head says of them.
    """

    rows: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


class RankingTeacher:
    """The trained towers and ranking head, which do not change.

    Args:
        model: The trained model, its catalogue set.
        preparation: Gives the features of a user of whom nothing is known.
        size: K, items a list; no more than there are.

    Raises:
        ConfigError: the model reads no query text.
    """

    def __init__(self, model: TwoTowerModel, preparation: Preparation, size: int) -> None:
        if not model.query_tower.text_width:
            raise ConfigError(
                "distill.ranking_weight needs a model that reads query text. Set train.model.query_text, or leave the "
                "weight at 0."
            )
        self._model = model
        self._preparation = preparation
        self._items = encode_catalogue(model)
        self._size = min(size, len(model.known_catalogue))
        spec = tf.TensorSpec([None, model.spec.text_width], tf.float32)
        self._score_lists = tf.function(self._lists, input_signature=[spec])

    def lists(self, vectors: npt.NDArray[np.float32]) -> SoftLists:
        """The teacher's lists for float32 [N, E] text vectors."""
        parts = [
            self._score_lists(tf.constant(vectors[start : start + _BATCH]))
            for start in range(0, len(vectors), _BATCH)
        ]
        rows, scores = zip(*parts, strict=True)
        return SoftLists(
            np.concatenate([part.numpy() for part in rows]), np.concatenate([part.numpy() for part in scores])
        )

    def retrieval_scores(self, vectors: Any, rows: Any) -> Any:
        """float32 [B, K] scores of int32 [B, K] items by retrieval alone; gradients reach float32 [B, E] `vectors`."""
        queries = self._queries(vectors)[0]
        items = tf.gather(self._items, rows)
        return tf.einsum("bd,bkd->bk", queries, items) / self._model.temperature

    def _lists(self, vectors: Any) -> tuple[Any, Any]:
        queries, history = self._queries(vectors)
        best = tf.math.top_k(self._model.retrieval_scores(queries, self._items), k=self._size).indices
        return best, self._model.ranking_scores(queries, history, tf.gather(self._items, best), best)

    def _queries(self, vectors: Any) -> tuple[Any, dict[str, Any]]:
        """float32 [B, D] query vectors and the empty history they come from."""
        model, rows = self._model, tf.shape(vectors)[0]
        history = {
            "items": tf.zeros([rows, 0], tf.int32),
            "vectors": tf.zeros([rows, 0, self._items.shape[1]]),
            "mask": tf.zeros([rows, 0], tf.bool),
        }
        if model.config.model.history.time_gaps:
            history["timestamps"] = tf.zeros([rows, 0], tf.int64)
        if model.config.model.history.event_types:
            history["events"] = tf.zeros([rows, 0], tf.int32)
        return model.encode_queries(history, self._nobody(rows), vectors), history

    def _nobody(self, rows: Any) -> dict[str, Any] | None:
        """The features of `rows` users of whom nothing is known."""
        specs = self._model.spec.user_specs
        if not (specs and self._model.config.model.user_features):
            return None
        numbers = {spec.name for spec in specs.numerics}
        raw = {
            name: tf.fill([rows], np.float32(np.nan)) if name in numbers else tf.fill([rows], "")
            for name in feature_names(specs)
        }
        return self._preparation.user_lookup(raw)


def divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """Mean Kullback-Leibler divergence of the student's softmax from the teacher's, both over the list.

    Args:
        teacher: float32 [B, K] scores.
        student: float32 [B, K] scores.
        temperature: What both are divided by.

    Returns:
        float32 scalar, nats; 0 where the differences between the scores of a row are the same.
    """
    target = tf.nn.softmax(teacher / temperature)
    told = tf.nn.log_softmax(teacher / temperature) - tf.nn.log_softmax(student / temperature)
    return tf.reduce_mean(tf.reduce_sum(target * told, axis=1))
