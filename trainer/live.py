"""The live Keras model behind the same questions as the exported one, written without the serving graph.

NumPy decides what is known, excluded and sorted here, so that a comparison with the export means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.config import ExportConfig
from trainer.explaining.live import live_explainer
from trainer.keras_compat import tf
from trainer.lexical import LEXICAL
from trainer.listing import rule_window
from trainer.live_rules import TOLERANCE, Shelf, Wishes, choose
from trainer.preparation import feature_names
from trainer.probes import Arrays
from trainer.scoring import encode_catalogue
from trainer.wishes import split_wishes, wish_vectors
from trainer.workbench import Workbench

Row = dict[str, Any]
"""One row of a request: by input name bytes, a number, or an array [columns]."""


class LiveModel:
    """Answers `retrieve`, `recommend`, `rank`, `explain` and the signatures of vectors for one row each.

    Args:
        bench: The model with its trained weights, its catalogue and its encoder.
        k: Length of the lists.
        max_history: Longer histories are cut to their most recent part.
        vectors: float32 [N, D] of the items; by default as the item tower computes them.
        variants: int64 [N] groups of items that are variants of one another; by default none are.
        explains: What `explain` takes apart; by default it cannot be asked.
    """

    def __init__(
        self,
        bench: Workbench,
        k: int,
        max_history: int,
        vectors: npt.NDArray[np.float32] | None = None,
        variants: npt.NDArray[np.int64] | None = None,
        *,
        explains: ExportConfig | None = None,
    ) -> None:
        self._bench = bench
        self._k = k
        self._max_history = max_history
        self._ids = np.asarray(bench.preparation.catalogue.item_ids, dtype=object)
        self._rows = {item: row for row, item in enumerate(self._ids)}
        self._scale = np.log1p(bench.preparation.catalogue.counts).astype(np.float32)
        self._vectors = encode_catalogue(bench.model).numpy() if vectors is None else vectors
        self._variants = np.full(len(self._ids), -1, np.int64) if variants is None else variants
        self._categories = item_categories(bench)
        self._explainer = live_explainer(explains, bench, self._vectors, max_history) if explains else None
        self._queries: dict[bytes, tuple[npt.NDArray[np.float32], dict[str, Any]]] = {}

    def answer(self, signature: str, inputs: Arrays, follow: npt.NDArray[Any] | None = None) -> Arrays:
        """All rows of a request, asked one by one; outputs as the signature names them.

        Args:
            signature: Its name.
            inputs: By name.
            follow: [B, K] item ids of an answer to compare with, for `retrieve` and `recommend`: rules that choose
                place after place go its way where two items are as good as each other.
        """
        rows = []
        for row in range(len(next(iter(inputs.values())))):
            followed = () if follow is None else (follow[row],)
            rows.append(
                getattr(self, signature)({name: array[row] for name, array in inputs.items()}, *followed)
            )
        return {name: _stacked([row[name] for row in rows]) for name in rows[0]}

    def retrieve(self, row: Row, follow: Sequence[bytes] = ()) -> Arrays:
        """The best items by retrieval."""
        return self._listed(row, self._allowed_scores(row), follow)

    def recommend(self, row: Row, follow: Sequence[bytes] = ()) -> Arrays:
        """The best candidates in the order of the ranking head, the others after them."""
        scores = self._allowed_scores(row)
        order = np.argsort(-scores, kind="stable")
        order = order[np.isfinite(scores[order])]
        candidates = self._bench.model.config.ranking.candidates
        head, tail = order[:candidates], order[candidates:]
        final = np.full(len(scores), -np.inf, np.float32)
        final[head] = self._ranking(row, head)
        if len(tail):
            final[tail] = final[head].min() - 1 + scores[tail] - scores[head[-1]]
        return self._listed(row, final, follow, order)

    def rank(self, row: Row) -> Arrays:
        """Ranking scores of given items."""
        rows = self._rows_of(row[contract.ITEM_ID])
        scores = self._ranking(row, np.maximum(rows, 0))
        return {contract.SCORE: np.where(rows >= 0, scores, np.nan).astype(np.float32)}

    def explain(self, row: Row) -> Arrays:
        """What the retrieval scores of given items are made of."""
        assert self._explainer is not None  # noqa: S101  asked only of models that explain
        history, items = self._rows_of(row[contract.HISTORY_ITEM_ID]), self._rows_of(row[contract.ITEM_ID])
        return self._explainer.explain(row, history, items)

    def embed_query(self, row: Row) -> Arrays:
        """The query vector."""
        return {contract.EMBEDDING: self._query(row)[0]}

    def embed_item(self, row: Row) -> Arrays:
        """The vector of an item that is described by its features."""
        preparation = self._bench.preparation
        features = preparation.item_lookup(
            {name: tf.constant(np.asarray(value)[np.newaxis]) for name, value in row.items()}
        )
        features["id"] = tf.zeros([1], tf.int32)
        if preparation.item_text and self._bench.encoder is not None:
            features["text"] = self._text_vector(row[preparation.item_text])
        if preparation.item_text and (sketch := self._bench.model.sketch) is not None:
            features[LEXICAL] = sketch.items(tf.constant([row[preparation.item_text]], tf.string))
        return {contract.EMBEDDING: self._bench.model.encode_items(features).numpy()[0]}

    def similar_items(self, row: Row) -> Arrays:
        """The nearest items by cosine."""
        place = int(self._rows_of([row[contract.ITEM_ID]])[0])
        if place < 0:
            return self._list(np.full(len(self._ids), -np.inf, np.float32), self._k)
        lengths = np.linalg.norm(self._vectors, axis=1, keepdims=True)
        unit = np.divide(self._vectors, lengths, out=np.zeros_like(self._vectors), where=lengths > 0)
        scores = unit @ unit[place]
        scores[place] = -np.inf
        return self._list(scores, self._k)

    def _text_vector(self, text: bytes) -> Any:
        """float32 [1, E] of what need not be UTF-8."""
        assert self._bench.encoder is not None  # noqa: S101  callers have asked
        return tf.constant(self._bench.encoder.encode_all([text], 1))  # type: ignore[list-item]

    def _rows_of(self, items: Sequence[bytes]) -> npt.NDArray[np.int32]:
        """Rows of the catalogue; -1 = unknown."""
        return np.asarray([self._rows.get(_text(item), -1) for item in items], np.int32)

    def _known(self, row: Row) -> tuple[npt.NDArray[np.int32], bytes]:
        """Catalogue rows of the history in order, and the query text."""
        text = row[contract.QUERY].strip()
        says = bool(split_wishes(tf.constant([text], tf.string)).asked()[0])
        return self._rows_of(row[contract.HISTORY_ITEM_ID]), text if says else b""

    def _query(self, row: Row) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """float32 [D] and the history it was read from; computed once for the same user and wish."""
        shared = (contract.ITEM_ID, *contract.RULES)
        key = repr(
            [(name, np.asarray(row[name]).tolist()) for name in sorted(row) if name not in shared]
        ).encode()
        if key not in self._queries:
            self._queries[key] = self._compute_query(row)
        return self._queries[key]

    def _compute_query(self, row: Row) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        model, preparation = self._bench.model, self._bench.preparation
        rows, text = self._known(row)
        keep = np.flatnonzero(rows >= 0)[-self._max_history :]
        vectors = self._vectors[rows[keep]][np.newaxis]
        history = {
            "items": tf.constant(rows[keep][np.newaxis]),
            "vectors": tf.constant(vectors),
            "mask": tf.ones([1, len(keep)], tf.bool),
        }
        if contract.HISTORY_TIMESTAMP in row:
            history["timestamps"] = tf.constant(row[contract.HISTORY_TIMESTAMP][keep][np.newaxis])
        if contract.HISTORY_EVENT in row:
            types = {event: number for number, event in enumerate(model.spec.event_types, start=1)}
            events = [types.get(_text(event), 0) for event in row[contract.HISTORY_EVENT][keep]]
            history["events"] = tf.constant([events], tf.int32)
        user = None
        if model.spec.user_specs and model.config.model.user_features:
            names = feature_names(model.spec.user_specs)
            user = preparation.user_lookup(
                {name: tf.constant(np.asarray(row[name])[np.newaxis]) for name in names}
            )
        vector = None
        if model.query_tower.text_width and self._bench.encoder is not None:
            encoder = self._bench.encoder
            wishes = split_wishes(tf.constant([text], tf.string))
            vector = wish_vectors(wishes, lambda texts: encoder.encode_all(texts.numpy().tolist(), 8))
        return model.encode_queries(history, user, vector, tf.constant([text], tf.string)).numpy()[0], history

    def _allowed_scores(self, row: Row) -> npt.NDArray[np.float32]:
        """float32 [N], -inf for what must not be shown."""
        rows, text = self._known(row)
        if (rows >= 0).any() or text:
            query = tf.constant(self._query(row)[0][np.newaxis])
            scores = self._bench.model.retrieval_scores(query, tf.constant(self._vectors)).numpy()[0].copy()
        else:
            scores = self._scale.copy()
        gone = self._rows_of(row[contract.EXCLUDE_ITEM_ID])
        if not self._bench.model.config.repeats:
            gone = np.concatenate([rows, gone])
        scores[gone[gone >= 0]] = -np.inf
        if (asked := row[contract.ALLOW_ITEM_ID]).any():
            scores[np.setdiff1d(np.arange(len(scores)), self._rows_of(asked))] = -np.inf
        blocked = {_text(name) for name in row[contract.BLOCK_CATEGORY]}
        allowed = {_text(name) for name in row[contract.ALLOW_CATEGORY] if name}
        for place, categories in enumerate(self._categories):
            if blocked & set(categories) or (allowed and not allowed & set(categories)):
                scores[place] = -np.inf
        return np.asarray(scores, np.float32)

    def _ranking(self, row: Row, items: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        rows, text = self._known(row)
        if not (rows >= 0).any() and not text:
            popular: npt.NDArray[np.float32] = self._scale[items]
            return popular
        query, history = self._query(row)
        vectors = tf.constant(self._vectors[items][np.newaxis])
        places = tf.constant(items[np.newaxis].astype(np.int32))
        scores: npt.NDArray[np.float32] = self._bench.model.ranking_scores(
            tf.constant(query[np.newaxis]), history, vectors, places
        ).numpy()[0]
        return scores

    def _list(self, scores: npt.NDArray[np.float32], k: int) -> Arrays:
        """The best k; of equal scores the one that stands first in the catalogue."""
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[np.isfinite(scores[best])]
        ids = np.full(k, b"", dtype=object)
        ids[: len(best)] = [item.encode() for item in self._ids[best]]
        values = np.full(k, -np.inf, np.float32)
        values[: len(best)] = scores[best]
        return {contract.ITEM_ID: ids, contract.SCORE: values}

    def _listed(
        self,
        row: Row,
        scores: npt.NDArray[np.float32],
        follow: Sequence[bytes],
        order: npt.NDArray[Any] | None = None,
    ) -> Arrays:
        """The list of a request under its rules; `order` as in `_list`."""
        order = np.arange(len(scores)) if order is None else order
        order = order[np.argsort(-scores[order], kind="stable")]
        order = order[np.isfinite(scores[order])]
        followed = self._rows_of([item for item in follow if item]).tolist()
        least = float(row[contract.MIN_SCORE])
        if not np.isnan(least):
            near = np.isfinite(least) & (np.abs(scores[order] - least) <= TOLERANCE * max(1.0, abs(least)))
            order = order[np.where(near, np.isin(order, followed), scores[order] >= least)]
        wishes, k = _wishes(row), self._k
        rows, chances = order[:k].tolist(), [1.0] * min(k, len(order))
        if wishes != Wishes(seed=wishes.seed):
            shelf = Shelf(order.tolist(), scores, self._categories, self._variants, self._vectors)
            window = rule_window(self._bench.model.config.ranking.candidates, k)
            rows, chances = choose(wishes, shelf, k, window, followed)
        empty = k - len(rows)
        return {
            contract.ITEM_ID: np.asarray(
                [self._ids[item].encode() for item in rows] + [b""] * empty, dtype=object
            ),
            contract.SCORE: np.asarray([*scores[rows], *[-np.inf] * empty], np.float32),
            contract.PROPENSITY: np.asarray([*chances, *[0.0] * empty], np.float32),
        }


def _stacked(rows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """[B, ...] of [...], shorter rows padded with "" and 0."""
    shape = np.max([row.shape for row in rows], axis=0)
    stacked = np.full((len(rows), *shape), b"" if rows[0].dtype == object else 0, rows[0].dtype)
    for target, row in zip(stacked, rows, strict=True):
        target[tuple(map(slice, row.shape))] = row
    return stacked


def _wishes(row: Row) -> Wishes:
    def at_least_nought(name: str) -> float:
        value = float(row[name])
        return max(0.0, value) if np.isfinite(value) else 0.0

    return Wishes(
        max_per_category=max(0, int(row[contract.MAX_PER_CATEGORY])),
        one_per_variant=bool(row[contract.ONE_PER_VARIANT] > 0),
        diversity=min(1.0, at_least_nought(contract.DIVERSITY)),
        exploration=at_least_nought(contract.EXPLORATION),
        seed=int(row[contract.SEED]),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def item_categories(bench: Workbench) -> list[tuple[str, ...]]:
    """[N] the categories of each item over all category features, sorted, without repetition."""
    catalogue = bench.preparation.catalogue
    names = [feature.name for feature in bench.dataset.with_role("items", "item_category")]
    columns = [
        [row if isinstance(row, tuple) else (row,) for row in catalogue.columns[name]] for name in names
    ]
    return [
        tuple(sorted({value for column in columns for value in column[row] if value}))
        for row in range(len(catalogue))
    ]
