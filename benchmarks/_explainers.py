"""Ways to say which events of a history a score comes from, beside each other; see explanations.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.explaining.live import coalitions, contributions
from trainer.keras_compat import tf
from trainer.model import TwoTowerModel

Floats = npt.NDArray[np.floating[Any]]
_BATCH = 512


@dataclass
class Case:
    """One user, one item.

    Attributes:
        model: The trained model.
        history: float32 [L, D] vectors of the events, oldest first.
        user: Tower inputs of the user features, [1, ...].
        item: float32 [D] vector of the item, divided by the temperature.
        rows: int [L + 1] catalogue rows of the events, and of the item.
        asked: How many coalitions have been computed so far.
    """

    model: TwoTowerModel
    history: Floats
    user: dict[str, Any]
    item: Floats
    rows: npt.NDArray[np.integer[Any]]
    asked: int = 0

    def with_model(self, model: TwoTowerModel, vectors: Floats | None = None) -> Case:
        """The same question to another model; `vectors` float32 [N, D] are its own items', by default these ones."""
        if vectors is None:
            return Case(model, self.history, self.user, self.item, self.rows)
        item = vectors[self.rows[-1]] / float(model.temperature)
        return Case(model, vectors[self.rows[:-1]], self.user, item, self.rows)

    def worth(self, there: npt.NDArray[np.bool_]) -> Floats:
        """Scores [C] of the histories that are left of bool [C, L]."""
        self.asked += len(there)
        return np.concatenate(
            [self._worth(there[start : start + _BATCH]) for start in range(0, len(there), _BATCH)]
        )

    def _worth(self, there: npt.NDArray[np.bool_]) -> Floats:
        order = np.argsort(~there, axis=1, kind="stable")
        mask = np.take_along_axis(there, order, axis=1)
        vectors = self.history[order] * mask[:, :, np.newaxis]
        return np.asarray(self.queries(tf.constant(vectors), tf.constant(mask))) @ self.item

    def queries(self, vectors: Any, mask: Any) -> Any:
        """Query vectors [C, D]."""
        rows = tf.shape(mask)[0]
        user = {name: tf.repeat(value, rows, axis=0) for name, value in self.user.items()} or None
        width = self.model.query_tower.text_width
        return _queries(self.model)(vectors, mask, user, tf.zeros([rows, width]) if width else None)


_TRACED: dict[int, Any] = {}


def _queries(model: TwoTowerModel) -> Any:
    if id(model) not in _TRACED:
        _TRACED[id(model)] = tf.function(
            lambda vectors, mask, user, text: model.encode_queries(
                {"vectors": vectors, "mask": mask}, user, text
            ),
            reduce_retracing=True,
        )
    return _TRACED[id(model)]


def insertion_orders(turns: int) -> Callable[[Case], Floats]:
    """As the signature `explain`."""

    def explain(case: Case) -> Floats:
        places, there = coalitions(len(case.history), turns)
        return contributions(case.worth(there)[:, np.newaxis], places)[:, 0]

    return explain


def leave_one_out(case: Case) -> Floats:
    """What the score loses without each event."""
    length = len(case.history)
    scores = case.worth(np.concatenate([~np.eye(length, dtype=bool), np.ones((1, length), bool)]))
    return scores[-1] - scores[:-1]


def integrated_gradients(steps: int) -> Callable[[Case], Floats]:
    """Along the straight line from vectors of zeros (Sundararajan 2017), midpoints."""

    def explain(case: Case) -> Floats:
        case.asked += steps
        share = (np.arange(steps, dtype=np.float32) + 0.5) / steps
        vectors = tf.constant(share[:, np.newaxis, np.newaxis] * case.history)
        mask = tf.ones(vectors.shape[:2], tf.bool)
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            scores = tf.linalg.matvec(case.queries(vectors, mask), tf.constant(case.item))
        return np.asarray((tape.gradient(scores, vectors).numpy().mean(axis=0) * case.history).sum(axis=1))

    return explain


def attention_weights(case: Case) -> Floats:
    """How much the last state attends to each event in the last block, mean over the heads."""
    case.asked += 1
    tower = case.model.query_tower
    x = tf.constant(case.history[np.newaxis]) * (tower.width**0.5)
    x = tower._norm_input(tf.concat([tf.reshape(tower._start, [1, 1, -1]), x], axis=1))
    for block in tower._blocks[:-1]:
        x = block(x, training=False)
    attention = tower._blocks[-1]._attention
    projected = attention._qkv(tower._blocks[-1]._norm_attention(x))[0]
    length, heads = projected.shape[0], attention.heads
    query, key, _ = np.moveaxis(np.reshape(projected, (length, 3, heads, -1)), 1, 0)
    scores = np.einsum("hd,khd->hk", query[-1], key) * (attention.width // heads) ** -0.5
    scores += np.asarray(attention._bias)[attention._buckets[length - 1, :length]].T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)[1:]


def cosine(case: Case) -> Floats:
    """Likeness of each event's item and the item: the evidence that `explain` names."""
    lengths = np.linalg.norm(case.history, axis=1) * np.linalg.norm(case.item)
    return case.history @ case.item / np.maximum(lengths, 1e-12)


def by_chance(case: Case) -> Floats:
    """Any order."""
    return np.random.default_rng(len(case.history) + int(abs(case.item[0]) * 1e6)).random(len(case.history))


def shap_kernel(samples: int) -> Callable[[Case], Floats]:
    """`shap.KernelExplainer`: a weighted regression over coalitions (Lundberg 2017)."""

    def explain(case: Case) -> Floats:
        import shap

        length = len(case.history)
        explainer = shap.KernelExplainer(lambda rows: case.worth(rows > 0.5), np.zeros((1, length)))
        np.random.seed(0)  # the library draws from it
        return np.asarray(explainer.shap_values(np.ones((1, length)), nsamples=samples, silent=True))[0]

    return explain


def shap_permutation(evaluations: int) -> Callable[[Case], Floats]:
    """`shap.PermutationExplainer`: random orders, each with its reverse."""

    def explain(case: Case) -> Floats:
        import shap

        length = len(case.history)
        masker = shap.maskers.Independent(np.zeros((1, length)))
        explainer = shap.PermutationExplainer(lambda rows: case.worth(rows > 0.5), masker, seed=0)
        return np.asarray(explainer(np.ones((1, length)), max_evals=evaluations, silent=True).values)[0]

    return explain


def lime_text(samples: int) -> Callable[[Case], Floats]:
    """`lime.lime_text`: a ridge regression around the whole history, events as words (Ribeiro 2016)."""

    def explain(case: Case) -> Floats:
        from lime.lime_text import LimeTextExplainer

        length = len(case.history)
        words = [f"e{place}" for place in range(length)]

        def scores(texts: list[str]) -> Floats:
            there = np.asarray([[word in text.split() for word in words] for text in texts])
            worth = case.worth(there)
            return np.stack([-worth, worth], axis=1)

        explainer = LimeTextExplainer(random_state=0, split_expression=" ", bow=True)
        found = explainer.explain_instance(
            " ".join(words), scores, labels=(1,), num_features=length, num_samples=samples
        )
        shares = dict(found.as_list(label=1))
        return np.asarray([shares.get(word, 0.0) for word in words])

    return explain
