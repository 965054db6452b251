"""What the ranking head learns from: the wanted item above those that retrieval puts on top, and observed values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.keras_compat import tf
from trainer.model_inputs import CatalogueTables
from trainer.ranking_head import RankingHead
from trainer.sampling import Candidates, hard_negatives
from trainer.step_queries import StepQueries
from trainer.tasks import RankingTask
from trainer.train_config import RankingConfig
from trainer.value_scale import ValueScale


class RankingLosses:
    """The losses of the ranking head on part of a step's queries; the towers learn from retrieval alone.

    Args:
        config: Of the ranking task.
        head: Which learns.
        seeds: A keras SeedGenerator, for the draw of negatives.
        values: Where the observed values lie.
        repeats: Whether items of the history can be candidates, so that they are negatives, too.
    """

    def __init__(
        self,
        config: RankingConfig,
        head: RankingHead,
        seeds: Any,
        values: ValueScale,
        *,
        repeats: bool = False,
    ) -> None:
        self._config = config
        self._head = head
        self._seeds = seeds
        self._task = RankingTask(values)
        self._repeats = repeats

    def __call__(
        self,
        data: dict[str, Any],
        step: StepQueries,
        known: Any,
        queries: Any,
        vectors: Any,
        history: dict[str, Any],
        pool: Candidates,
        catalogue: CatalogueTables,
        retrieval_scores: Callable[[Any, Any], Any],
    ) -> dict[str, Any]:
        """Both losses by name, unweighted.

        Args:
            data: The batch, as `TwoTowerModel.train_step` takes it.
            step: Which of its events are predicted.
            known: int32 [Q] how many events of the history each query knows.
            queries: float32 [Q, D] query vectors.
            vectors: float32 [M, D] vectors of the items that take part in the step.
            history: "vectors" float32 [B, L, D] of the batch.
            pool: Which items take part.
            catalogue: All items.
            retrieval_scores: float32 [Q, M] of query and item vectors.
        """
        settings = self._config
        step = step.part(settings.queries_per_step)
        chosen, targets = step.places, step.targets
        queries, known = (rows[: tf.shape(chosen)[0]] for rows in (tf.stop_gradient(queries), known))
        vectors = tf.stop_gradient(vectors)
        before = tf.sequence_mask(chosen[:, 1], tf.shape(data["items"])[1])
        seen = tf.where(before, tf.gather(data["items"], chosen[:, 0]), -1)
        target_rows = pool.rows_of(targets)
        scores = retrieval_scores(queries, vectors)
        if pool.once is not None:
            scores = tf.where(pool.once, scores, scores.dtype.min)
        negatives, retrieved = hard_negatives(
            scores,
            target_rows,
            tf.zeros([tf.shape(targets)[0], 0], tf.int32) if self._repeats else pool.rows_of(seen),
            candidates=settings.candidates,
            draw=settings.negatives,
            seeds=self._seeds,
        )
        rows = tf.concat([target_rows[:, tf.newaxis], tf.maximum(negatives, 0)], axis=1)
        scale = tf.gather(tf.gather(catalogue.scale, pool.ids), rows)
        past = tf.stop_gradient(tf.gather(history["vectors"], chosen[:, 0]))
        shown = tf.sequence_mask(known, tf.shape(data["items"])[1])
        scores, values = self._head(queries, past, shown, tf.gather(vectors, rows), scale, training=True)
        drawn = tf.pad(negatives >= 0, [[0, 0], [1, 0]], constant_values=True)
        scores = tf.where(drawn, scores, -1e9)
        observed = tf.gather_nd(data["values"], chosen)
        return {
            "ranking_loss": self._task.order_loss(scores, tf.cast(retrieved, tf.float32) * step.weights),
            "value_loss": self._task.value_loss(observed, values[:, 0], step.weights),
        }
