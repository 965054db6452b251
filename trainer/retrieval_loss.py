"""What retrieval learns from: the wanted item among all others, or among a fair sample of them."""

from __future__ import annotations

from typing import Any

from trainer.distribution import replicas
from trainer.keras_compat import tf
from trainer.long_tail import NO_CORRECTION, TailCorrection, with_offsets
from trainer.sampling import Candidates
from trainer.step_queries import StepQueries
from trainer.tasks import RetrievalTask, masked_cross_entropy
from trainer.train_config import RetrievalConfig


class RetrievalLoss:
    """The softmax that the configuration asks for, as a mean over queries.

    Args:
        config: Of the retrieval task.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._task = RetrievalTask(config)

    def __call__(
        self,
        queries: Any,
        targets: Any,
        vectors: Any,
        pool: Candidates,
        share: Any,
        step: StepQueries | None = None,
        tail: TailCorrection = NO_CORRECTION,
    ) -> Any:
        """The loss.

        Args:
            queries: float32 [Q, D] query vectors, divided by the temperature.
            targets: int32 [Q] catalogue rows of the wanted items.
            vectors: float32 [M, D] vectors of the items that take part in the step.
            pool: Which they are.
            share: float32 [N] share of each item in the training events.
            step: The queries of other replicas, and which of these count; by default there are no others.
            tail: What each item of the catalogue gets for being rare or frequent.
        """
        step = (step or StepQueries(None, targets, targets[:0])).weighted(tail.weights)
        if tail.offsets is not None:
            queries, vectors = with_offsets(queries, vectors, tf.gather(tail.offsets, pool.ids))
        if self._config.softmax == "full":
            logits = tf.matmul(queries, vectors, transpose_b=True)
            return step.mean(cross_entropies(logits, pool.rows_of(targets), self._config.label_smoothing))
        if self._config.softmax == "distinct":
            return self._among_distinct(queries, vectors, pool, share, step)
        if self._config.in_batch_negatives:
            return self._among_batch(queries, vectors, pool, share, step)
        return self._among_drawn(queries, vectors, pool, share, step)

    def adversarial(
        self,
        queries: Any,
        targets: Any,
        vectors: Any,
        pool: Candidates,
        share: Any,
        step: StepQueries | None = None,
        tail: TailCorrection = NO_CORRECTION,
    ) -> Any:
        """The same loss where query and item vectors are moved in the direction that raises it most.

        Each vector moves by `adversarial_step` times the root mean square length of its kind along its own gradient,
        the fast gradient method of Goodfellow (2015) as Adversarial Personalized Ranking uses it (He 2018,
        equation 7); the move itself is not differentiated.
        """
        with tf.GradientTape() as tape:
            tape.watch([queries, vectors])
            loss = self(queries, targets, vectors, pool, share, step, tail)
        slopes = tape.gradient(loss, [queries, vectors])
        slopes[1] = replicas.total(tf.convert_to_tensor(slopes[1]))  # all have the same item vectors
        moved = [
            vector + worst_change(vector, slope, self._config.adversarial_step)
            for vector, slope in zip((queries, vectors), slopes, strict=True)
        ]
        return self(moved[0], targets, moved[1], pool, share, step, tail)

    def _among_batch(
        self, queries: Any, vectors: Any, pool: Candidates, share: Any, step: StepQueries
    ) -> Any:
        """Negatives are the other queries' targets and the drawn items (the TFRS task)."""
        ids = tf.concat([step.targets, step.others, pool.negatives], axis=0)
        shares = tf.gather(share, ids)
        expected = step.count() * shares + pool.expected_draws(shares)
        size = step.count() + tf.cast(tf.size(pool.negatives), tf.float32)
        probability = expected / size if self._config.sampling_correction else tf.ones_like(expected)
        candidates = tf.gather(vectors, pool.rows_of(ids))
        if step.valid is None:
            return self._task(queries, candidates, ids, probability, step.weights)
        return self._among_some(queries, candidates, ids, probability, step)

    def _among_some(
        self, queries: Any, candidates: Any, ids: Any, probability: Any, step: StepQueries
    ) -> Any:
        """What the TFRS task computes, where some of the targets only fill up a shape."""
        scores = tf.matmul(queries, candidates, transpose_b=True)
        scores -= tf.math.log(tf.clip_by_value(probability, 1e-6, 1.0))
        drawn = tf.ones([tf.size(ids) - tf.size(step.targets)], tf.bool)
        allowed = tf.broadcast_to(tf.concat([step.valid, drawn], axis=0), tf.shape(scores))
        if self._config.remove_accidental_hits:
            allowed &= step.targets[:, tf.newaxis] != ids
        own = tf.linalg.diag_part(scores)
        allowed = tf.linalg.set_diag(allowed, tf.ones_like(step.valid))
        return step.mean(masked_cross_entropy(scores, own, allowed, self._config.label_smoothing))

    def _among_distinct(
        self, queries: Any, vectors: Any, pool: Candidates, share: Any, step: StepQueries
    ) -> Any:
        """Every item of the step once; the target always takes part, so its score is not corrected."""
        logits, rows = tf.matmul(queries, vectors, transpose_b=True), pool.rows_of(step.targets)
        if self._config.sampling_correction:
            taken = tf.math.log(pool.inclusion(tf.gather(share, pool.ids)))
            own = tf.stack([tf.range(tf.shape(rows)[0]), rows], axis=1)
            logits = tf.tensor_scatter_nd_add(logits - taken, own, tf.gather(taken, rows))
        smoothing = self._config.label_smoothing
        if pool.once is None:
            return step.mean(cross_entropies(logits, rows, smoothing))
        wanted = tf.gather(logits, rows, batch_dims=1)
        allowed = tf.broadcast_to(pool.once, tf.shape(logits))
        return step.mean(masked_cross_entropy(logits, wanted, allowed, smoothing))

    def _among_drawn(
        self, queries: Any, vectors: Any, pool: Candidates, share: Any, step: StepQueries
    ) -> Any:
        """Negatives are the drawn items alone; the target always takes part, so its score is not corrected."""
        targets = step.targets
        own = tf.reduce_sum(queries * tf.gather(vectors, pool.rows_of(targets)), axis=1, keepdims=True)
        scores = tf.matmul(queries, tf.gather(vectors, pool.rows_of(pool.negatives)), transpose_b=True)
        if self._config.sampling_correction:
            scores -= tf.math.log(pool.expected_draws(tf.gather(share, pool.negatives)))
        allowed = tf.ones_like(scores, tf.bool)
        if self._config.remove_accidental_hits:
            allowed = targets[:, tf.newaxis] != pool.negatives
        logits = tf.concat([own, scores], axis=1)
        allowed = tf.pad(allowed, [[0, 0], [1, 0]], constant_values=True)
        return step.mean(masked_cross_entropy(logits, own[:, 0], allowed, self._config.label_smoothing))


def cross_entropy(logits: Any, rows: Any, smoothing: float) -> Any:
    """Mean of `cross_entropies`."""
    return tf.reduce_mean(cross_entropies(logits, rows, smoothing))


def cross_entropies(logits: Any, rows: Any, smoothing: float) -> Any:
    """Cross-entropy of each query's target among all candidates, float32 [Q].

    Args:
        logits: float32 [Q, M].
        rows: int32 [Q] columns of the targets.
        smoothing: Share of the probability that is spread over all candidates.
    """
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(rows, logits)
    if smoothing:
        # (1 - s) (lse - own) + s (lse - mean) = (lse - own) + s (own - mean)
        own = tf.gather(logits, rows, batch_dims=1)
        loss += smoothing * (own - tf.reduce_mean(logits, axis=1))
    return loss


def worst_change(vectors: Any, gradient: Any, step: float) -> Any:
    """float32 [B, D] changes of `vectors`, each `step` times their root mean square length, along `gradient`."""
    direction = tf.math.l2_normalize(tf.convert_to_tensor(gradient), axis=1, epsilon=1e-24)
    squares = tf.reduce_sum(tf.square(vectors), axis=1)
    if replicas.count() == 1:
        length = tf.sqrt(tf.reduce_mean(squares))
    else:
        rows = tf.cast(tf.size(squares), tf.float32)
        length = tf.sqrt(replicas.total(tf.reduce_sum(squares)) / replicas.total(rows))
    return tf.stop_gradient(step * length * direction)
