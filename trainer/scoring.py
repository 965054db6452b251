"""The live model as a scorer of evaluation queries: retrieval alone, or retrieval and the ranking head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import history_pairs
from trainer.keras_compat import tf
from trainer.model import TwoTowerModel
from trainer.neighbours.weights import Blend
from trainer.preparation import Preparation, event_rows, user_inputs
from trainer.sequences import Sequences

Scores = npt.NDArray[np.float32]


class ModelScorer:
    """Scores evaluation queries against the whole catalogue.

    Args:
        model: With its catalogue set.
        preparation: Gives features and event types.
        sequences: The split that the queries were made from.
        queries: See `EvaluationQueries`.
        rerank: Put the best `ranking.candidates` of each query in the order of the ranking head.
        exclude_history: Whether items of the history are kept out of these candidates (a target stays in even when it
            is chosen again); by default as in serving.
        item_vectors: float32 [N, D] if they are known already; see `refresh`.
        query_texts: float32 [Q, E] vectors of what each query says in words; None = nothing.
    """

    def __init__(
        self,
        model: TwoTowerModel,
        preparation: Preparation,
        sequences: Sequences,
        queries: EvaluationQueries,
        *,
        rerank: bool,
        exclude_history: bool | None = None,
        item_vectors: Any = None,
        query_texts: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._model = model
        self._sequences = sequences
        self._queries = queries
        self._rerank = rerank
        self.exclude_history = not model.config.repeats if exclude_history is None else exclude_history
        self._users = user_inputs(preparation, sequences) if model.config.model.user_features else {}
        self._events = (
            event_rows(preparation, sequences.events) if model.config.model.history.event_types else None
        )
        self.refresh(encode_catalogue(model) if item_vectors is None else item_vectors)
        self._texts = query_texts
        self._score = tf.function(self._scores)
        self._score_candidates = tf.function(self._candidates)

    def refresh(self, item_vectors: Any) -> None:
        """Takes float32 [N, D] item vectors anew, after the model has learned."""
        self._vectors = self._compared(item_vectors)

    def _compared(self, vectors: Any) -> Any:
        """The part of float32 [..., D] vectors that can matter where nobody asks in words."""
        model = self._model
        behind = model.blend.history_words or model.config.model.new_item_head_start
        return vectors if behind else model.learned(vectors)

    def __call__(self, start: int, stop: int) -> Scores:
        """float32 [stop - start, N] in catalogue order."""
        inputs = (*self._inputs(start, stop), self._vectors)
        self._score.get_concrete_function(*any_rows(inputs))
        scores: Scores = self._score(*inputs).numpy()
        return scores

    def candidates(
        self, start: int, stop: int, blends: Sequence[Blend]
    ) -> tuple[npt.NDArray[np.int32], Scores]:
        """What retrieval finds for queries, and the ranking scores of it by each of several blends.

        Returns:
            int32 [stop - start, C] catalogue rows and float32 [len(blends), stop - start, C].
        """
        inputs = (*self._inputs(start, stop), self._vectors)
        self._score_candidates.get_concrete_function(tuple(blends), *any_rows(inputs))
        rows, scores = self._score_candidates(tuple(blends), *inputs)
        return rows.numpy(), scores.numpy()

    def _inputs(self, start: int, stop: int) -> tuple[dict[str, Any], dict[str, Any], Any, Any]:
        """Histories, user features, text vectors, and what must not be retrieved, of some queries."""
        seen = tf.zeros([0, 2], tf.int32)
        if self.exclude_history:
            seen = tf.constant(np.stack(history_pairs(self._queries, start, stop), axis=1), tf.int32)
        users = {
            name: tf.gather(value, self._queries.sequence[start:stop]) for name, value in self._users.items()
        }
        return self._history(start, stop), users, self._texts_of(start, stop), seen

    def _texts_of(self, start: int, stop: int) -> Any:
        """float32 [B, E], or None where the model reads no query text."""
        width = self._model.spec.text_width
        if not self._model.query_tower.text_width:
            return None
        return (
            tf.zeros([stop - start, width]) if self._texts is None else tf.constant(self._texts[start:stop])
        )

    def _history(self, start: int, stop: int) -> dict[str, Any]:
        """Catalogue rows [B, L], -1 = padding on the right, and times and types where the model reads them."""
        length = self._model.config.model.history.max_length
        positions = recent_positions(self._queries, start, stop, length)
        inside = positions >= 0
        place = np.maximum(positions, 0)
        history = {"items": tf.constant(np.where(inside, self._sequences.items[place], -1), tf.int32)}
        if self._model.config.model.history.time_gaps:
            history["timestamps"] = tf.constant(
                np.where(inside, self._sequences.timestamps[place], 0), tf.int64
            )
        if self._events is not None:
            history["events"] = tf.constant(np.where(inside, self._events[place], 0), tf.int32)
        return history

    def _scores(
        self, history: dict[str, Any], users: dict[str, Any], text: Any, seen: Any, item_vectors: Any
    ) -> Any:
        scores, queries, history = self._retrieved(history, users, text, item_vectors)
        return self._reranked(scores, queries, history, seen, item_vectors) if self._rerank else scores

    def _candidates(
        self,
        blends: Sequence[Blend],
        history: dict[str, Any],
        users: dict[str, Any],
        text: Any,
        seen: Any,
        item_vectors: Any,
    ) -> tuple[Any, Any]:
        scores, queries, history = self._retrieved(history, users, text, item_vectors)
        top = self._best(scores, seen)
        ranked = [self._ranked(queries, history, top, item_vectors, blend) for blend in blends]
        return top, tf.stack(ranked)

    def _retrieved(
        self, history: dict[str, Any], users: dict[str, Any], text: Any, item_vectors: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Scores of all items, the query vectors, and the history as the ranking head takes it."""
        model = self._model
        items = history["items"]
        mask = items >= 0
        vectors = tf.gather(item_vectors, tf.maximum(items, 0)) * tf.cast(mask, tf.float32)[:, :, tf.newaxis]
        history = {**history, "vectors": vectors, "mask": mask}
        queries = self._compared(model.encode_queries(history, users or None, text))
        return model.retrieval_scores(queries, item_vectors), queries, history

    def _best(self, scores: Any, seen: Any) -> Any:
        """int32 [B, C] rows of the best candidates, in no order."""
        unseen = tf.tensor_scatter_nd_update(scores, seen, tf.fill([tf.shape(seen)[0]], -np.inf))
        size = tf.minimum(self._model.config.ranking.candidates, tf.shape(scores)[1])
        return tf.math.top_k(unseen, k=size, sorted=False).indices

    def _ranked(
        self, queries: Any, history: dict[str, Any], rows: Any, item_vectors: Any, blend: Blend
    ) -> Any:
        items = tf.gather(item_vectors, rows)
        return self._model.ranking_scores(queries, history, items, rows, blend)

    def _reranked(
        self, scores: Any, queries: Any, history: dict[str, Any], seen: Any, item_vectors: Any
    ) -> Any:
        """The best candidates in the order of the ranking head, all others below them in retrieval's order."""
        top = self._best(scores, seen)
        order = self._ranked(queries, history, top, item_vectors, self._model.blend)
        lift = (
            tf.reduce_max(scores, axis=1, keepdims=True) - tf.reduce_min(order, axis=1, keepdims=True) + 1.0
        )
        rows = tf.repeat(tf.range(tf.shape(top)[0])[:, tf.newaxis], tf.shape(top)[1], axis=1)
        return tf.tensor_scatter_nd_update(scores, tf.stack([rows, top], axis=2), order + lift)


def any_rows(inputs: Any) -> Any:
    """Nested tf.TensorSpecs of tensors with any first dimension: traced with them, a function is traced once."""
    return tf.nest.map_structure(
        lambda value: None if value is None else tf.TensorSpec([None, *value.shape[1:]], value.dtype), inputs
    )


def encode_catalogue(model: TwoTowerModel, batch_size: int = 65_536) -> Any:
    """float32 [N, D] vectors of all items of the model's catalogue."""
    inputs, size = model.known_catalogue.inputs, len(model.known_catalogue)
    parts = [
        model.encode_items({name: value[start : start + batch_size] for name, value in inputs.items()})
        for start in range(0, size, batch_size)
    ]
    return tf.concat(parts, axis=0)


def recent_positions(queries: EvaluationQueries, start: int, stop: int, length: int) -> npt.NDArray[np.int64]:
    """Positions of the last `length` events inside the catalogue before each target.

    Returns:
        int64 [stop - start, length] positions in `queries.items`, oldest first, -1 = padding on the right.
    """
    known = np.flatnonzero(queries.items >= 0)
    first = np.searchsorted(known, queries.row_splits[queries.sequence[start:stop]])
    last = np.searchsorted(known, queries.target[start:stop])
    place = np.maximum(first, last - length)[:, None] + np.arange(length)
    inside = place < last[:, None]
    return np.where(inside, known[np.minimum(place, max(0, len(known) - 1))] if len(known) else -1, -1)
