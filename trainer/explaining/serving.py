"""The served model with the signature `explain`."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer import contract
from trainer.explaining.descriptions import Descriptions
from trainer.explaining.item_words import read_parts, word_contributions
from trainer.explaining.nearest import nearest
from trainer.explaining.query_side import Limits, parts_of, query_contributions, user_features
from trainer.explaining.text_parts import text_parts
from trainer.item_tower import ID, TEXT
from trainer.keras_compat import tf
from trainer.listing import Tensors
from trainer.serving_model import ServingModel
from trainer.signatures import parse_examples

EVIDENCE = 3
"""Nearest items of the history that are named for each item."""


class ExplainingModel(ServingModel):
    """Says of given items which events, words and features of a request their retrieval score comes from.

    Args:
        *args: As `ServingModel`.
        limits: How much is taken apart. Texts of items are where the index holds their descriptions.
        item_inputs: tf.TensorSpec of each input of `embed_item` by name.
        **kwargs: As `ServingModel`.
    """

    def __init__(
        self,
        *args: Any,
        limits: Limits,
        item_inputs: Tensors,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._explaining = _Explaining(limits, dict(item_inputs))

    def explain(self, inputs: Tensors) -> Tensors:
        """Retrieval scores of given items, and what they are made of.

        A score is cut twice. `baseline` and the contributions of history, query words and user features add up to it;
        so do `item_baseline` and the contributions of the words of the item's text. Of whom nothing is known gets the
        score of `retrieve`, which is popularity, as baseline, and nothing else contributes. A request about more items
        than the limit is an error, which a server answers with INVALID_ARGUMENT.
        """
        inputs = inputs | {
            contract.ITEM_ID: _bounded(inputs[contract.ITEM_ID], self._explaining.limits.items)
        }
        rows = self._index.rows_of(inputs[contract.ITEM_ID])
        side = self._side_of(inputs)
        items = self._index.gather(rows) / self._settings.temperature
        known = side["known"][:, tf.newaxis]
        score = tf.where(known, _products(items, side["query"]), self._index.scale_of(rows))
        parts = self._query_parts(inputs, side, items)
        baseline = tf.where(known, _products(items, parts.pop("empty")), score)
        outputs = {name: _apart(added, known) for name, added in parts.items()}
        error = _error(score, baseline, outputs.values())
        described = self._index.descriptions  # AutoGraph cannot read an assignment inside the condition
        if described is not None:
            words, bare, added = self._item_parts(described, rows, side["query"], known, score)
            outputs |= {"item_word_contribution": added, "item_baseline": bare, "item_word": words}
            error = tf.maximum(error, _error(score, bare, [added]))
        outputs |= {contract.SCORE: score, "baseline": baseline, "completeness_error": error}
        unknown = (rows < 0)[..., tf.newaxis]
        outputs = {name: _unknown(value, unknown) for name, value in outputs.items()}
        return outputs | self._names(inputs, tf.shape(rows)[1]) | self._evidence(side, rows)

    def _query_parts(self, inputs: Tensors, side: Tensors, items: Any) -> Tensors:
        """Contributions [B, N, ...] of the query side by output, and the "empty" query vector [B, D]."""
        asked = {name: value for name, value in inputs.items() if name in self._side_names}
        found = query_contributions(
            asked,
            side["seen"] >= 0,
            lambda requests: self._side_of(requests)["query"],
            self._explaining.limits,
            width=items.shape[-1],
            words=self._words(inputs),
        )
        return {
            "empty": found["empty"],
            "history_contribution": _shares(items, found["history"]),
            "query_word_contribution": _shares(items, found["words"]),
            "user_feature_contribution": _shares(items, found["user"]),
        }

    def _words(self, inputs: Tensors) -> Any | None:
        encoder = self._layers.encoder
        reads = self._settings.query_text or self._sketch is not None
        if not reads or encoder is None:
            return None
        return parts_of(inputs[contract.QUERY], self._explaining.limits, encoder.max_characters)

    def _names(self, inputs: Tensors, count: Any) -> Tensors:
        """What the contributions are of, repeated for each of the N items."""
        rows = tf.shape(inputs[contract.QUERY])[0]
        words = self._words(inputs)
        features = tf.constant(user_features(sorted(self._side_names)), tf.string)
        names = {
            contract.HISTORY_ITEM_ID: inputs[contract.HISTORY_ITEM_ID],
            "query_word": tf.zeros([rows, 0], tf.string) if words is None else tf.strings.strip(words),
            "user_feature": tf.repeat(features[tf.newaxis], rows, axis=0),
        }
        return {name: tf.repeat(value[:, tf.newaxis], count, axis=1) for name, value in names.items()}

    def _evidence(self, side: Tensors, rows: Any) -> Tensors:
        history = side["history"]
        cosines, found = nearest(self._index.gather(rows), history["vectors"], history["items"], EVIDENCE)
        cosines = tf.where(rows[..., tf.newaxis] >= 0, cosines, np.float32(-np.inf))
        ids = self._index.ids_of(tf.maximum(found, 0), cosines)
        return {"nearest_item_id": ids, "nearest_cosine": cosines}

    def _item_parts(
        self, described: Descriptions, rows: Any, queries: Any, known: Any, score: Any
    ) -> tuple[Any, Any, Any]:
        """Words string [B, N, W] of the items, the score [B, N] without them, and their contributions [B, N, W]."""
        encoder, text = self._layers.encoder, self._settings.item_text
        assert encoder is not None and text is not None  # noqa: S101, PT018  else there are no descriptions
        flat = tf.concat([tf.reshape(rows, [-1]), [-1]], axis=0)  # one more, so that there is any
        raw = parse_examples(described.of(flat), self._explaining.item_inputs)
        cut = tf.strings.substr(raw[text], 0, encoder.max_characters, unit="UTF8_CHAR")
        words = text_parts(cut, self._explaining.limits.words)
        bare, added = word_contributions(
            raw, self._index.id_rows_of(flat), words, read_parts(words, encoder), self._tower, text=text,
            width=queries.shape[-1], turns=self._explaining.limits.turns,
        )  # fmt: skip
        shape = tf.concat([tf.shape(rows), tf.shape(words)[1:]], axis=0)
        words, bare, added = words[:-1], bare[:-1], added[:-1]
        queries = tf.repeat(queries / self._settings.temperature, tf.shape(rows)[1], axis=0)
        shares = tf.reshape(tf.linalg.matvec(added, queries), shape)
        baseline = tf.reshape(tf.reduce_sum(bare * queries, axis=1), tf.shape(rows))
        return (
            tf.strings.strip(tf.reshape(words, shape)),
            tf.where(known, baseline, score),
            _apart(shares, known),
        )

    def _tower(self, raw: Tensors, ids: Any, texts: Any) -> Any:
        features = self._item_lookup(raw)
        features |= {ID: ids, TEXT: self._layers.projected(texts)}
        return self._item_vectors(features, raw)


class _Explaining:
    """Settings out of sight of TensorFlow's tracking."""

    def __init__(self, limits: Limits, item_inputs: Tensors) -> None:
        self.limits = limits
        self.item_inputs = item_inputs


def _bounded(item_ids: Any, most: int) -> Any:
    """The ids [B, N]; the graph fails where there are more than `most`."""
    count = tf.shape(item_ids)[1]
    said = [
        f"explain takes at most {most} items a request (limits.explain_items of `describe`). Ask in several requests, "
        "or export with a larger export.explanation_items. Items of this request:",
        count,
    ]
    with tf.control_dependencies([tf.debugging.Assert(count <= most, said)]):
        return tf.identity(item_ids)


def _products(items: Any, queries: Any) -> Any:
    """float32 [B, N] of [B, N, D] and [B, D]."""
    return tf.linalg.matvec(items, queries)


def _shares(items: Any, added: Any) -> Any:
    """float32 [B, N, P] of [B, N, D] items and [B, P, D] contributions to the query vector."""
    return tf.matmul(items, added, transpose_b=True)


def _apart(shares: Any, known: Any) -> Any:
    """Nothing contributes to a score that is popularity."""
    return tf.where(known[..., tf.newaxis], shares, tf.zeros_like(shares))


def _error(score: Any, baseline: Any, shares: Any) -> Any:
    """How far the parts are from the score, [B, N]."""
    return tf.abs(score - baseline - tf.add_n([tf.reduce_sum(share, axis=2) for share in shares]))


def _unknown(value: Any, unknown: Any) -> Any:
    """NaN, or nothing, for items that the catalogue does not have."""
    if value.dtype == tf.string:
        return tf.where(unknown, "", value)
    if value.shape.rank == 2:
        return tf.where(unknown[..., 0], np.float32(np.nan), value)
    return tf.where(unknown, np.float32(0), value)
