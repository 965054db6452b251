"""`explain` of the live model, written without the serving graph: exports are compared with it.

NumPy says who stands in which coalition; the Keras layers say what a coalition is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.config import ExportConfig
from trainer.explaining.build import explains_item_words, limits_of
from trainer.explaining.query_side import Limits, user_features
from trainer.explaining.serving import EVIDENCE
from trainer.explaining.text_parts import text_parts
from trainer.item_tower import ID, TEXT
from trainer.keras_compat import tf
from trainer.lexical import LEXICAL
from trainer.preparation import feature_names
from trainer.probes import Arrays
from trainer.wishes import split_wishes, wish_vectors
from trainer.workbench import Workbench

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def live_explainer(
    config: ExportConfig, bench: Workbench, vectors: Floats, max_history: int
) -> LiveExplainer:
    """The live twin of what a configuration exports; arguments as of `LiveExplainer`."""
    limits = limits_of(config, max_history)
    return LiveExplainer(bench, vectors, limits, item_words=explains_item_words(config, bench))


class LiveExplainer:
    """Takes the scores of one row apart.

    Args:
        bench: The model with its trained weights, its catalogue and its encoder.
        vectors: float32 [N, D] of the items.
        limits: As of the exported model.
        item_words: Whether texts of items are taken apart.
    """

    def __init__(self, bench: Workbench, vectors: Floats, limits: Limits, *, item_words: bool) -> None:
        self._bench, self._vectors, self._limits = bench, vectors, limits
        self._temperature = float(bench.model.temperature)
        self._item_words = (
            item_words and bench.encoder is not None and bench.preparation.item_text is not None
        )
        self._read = _reader(bench.encoder) if self._item_words else None

    def explain(
        self, row: Mapping[str, Any], seen: npt.NDArray[np.int32], items: npt.NDArray[np.int32]
    ) -> Arrays:
        """All outputs of the signature for one row.

        Args:
            row: Its inputs.
            seen: int32 [H] catalogue rows of the history, -1 = unknown.
            items: int32 [N] catalogue rows of the items, -1 = unknown.
        """
        vectors = np.where(items[:, np.newaxis] >= 0, self._vectors[items], 0) / self._temperature
        names = user_features([name for name in row if name not in (contract.ITEM_ID,)])
        events = np.flatnonzero(seen >= 0)[-self._limits.history :]
        parts = self._query_parts(row)
        sizes = [len(events), len(parts), len(names)]
        places, there = coalitions(sum(sizes), self._limits.turns)
        ends = np.cumsum(sizes)
        shown, heard, told = there[:, : ends[0]], there[:, ends[0] : ends[1]], there[:, ends[1] :]
        queries = self._queries(
            row, seen, events, shown, [_joined(parts, mask) for mask in heard], names, told
        )
        history, words, user = np.split(contributions(queries, places), ends[:2])
        spread = np.zeros((len(seen), queries.shape[1]))
        spread[events] = history
        asked = split_wishes(tf.constant([row[contract.QUERY]], tf.string)).asked()[0]
        known = len(events) > 0 or bool(asked)
        full, empty = queries[sum(sizes)], queries[0]
        scale = np.log1p(self._bench.preparation.catalogue.counts[np.maximum(items, 0)])
        score = vectors @ full if known else scale
        outputs: Arrays = {
            contract.SCORE: score,
            "baseline": vectors @ empty if known else scale,
            "history_contribution": vectors @ spread.T * known,
            "query_word_contribution": vectors @ words.T * known,
            "user_feature_contribution": vectors @ user.T * known,
            "completeness_error": np.zeros(len(items)),
        }
        if self._item_words:
            outputs |= self._of_texts(items, full / self._temperature, scale, known)
        for value in outputs.values():
            unknown: Any = b"" if value.dtype == object else np.nan if value.ndim == 1 else 0.0
            value[items < 0] = unknown
        return {n: v if v.dtype == object else v.astype(np.float32) for n, v in outputs.items()} | {
            contract.HISTORY_ITEM_ID: _repeated(row[contract.HISTORY_ITEM_ID], items),
            "query_word": _repeated([part.strip() for part in parts], items),
            "user_feature": _repeated([name.encode() for name in names], items),
            **self._evidence(seen[events], items),
        }

    def _query_parts(self, row: Mapping[str, Any]) -> list[bytes]:
        encoder, model = self._bench.encoder, self._bench.model
        reads = model.query_tower.text_width or model.sketch is not None
        if not reads or encoder is None:
            return []
        return _parts(row[contract.QUERY], self._limits.words, encoder.max_characters)

    def _queries(
        self,
        row: Mapping[str, Any],
        seen: npt.NDArray[np.int32],
        events: npt.NDArray[np.int64],
        shown: Bools,
        texts: Sequence[bytes],
        names: Sequence[str],
        told: Bools,
    ) -> Floats:
        """float32 [C, D] query vectors of the coalitions."""
        model, preparation = self._bench.model, self._bench.preparation
        order = np.argsort(~shown, axis=1, kind="stable")
        mask = np.take_along_axis(shown, order, axis=1)
        places = events[order] if len(events) else np.zeros(shown.shape, np.int64)
        history = {"mask": tf.constant(mask)}
        rows = np.where(mask, seen[places] if len(events) else 0, 0)
        history["vectors"] = tf.constant(self._vectors[rows] * mask[:, :, np.newaxis])
        if contract.HISTORY_TIMESTAMP in row:
            history["timestamps"] = tf.constant(np.where(mask, row[contract.HISTORY_TIMESTAMP][places], 0))
        if contract.HISTORY_EVENT in row:
            kinds = {kind.encode(): number for number, kind in enumerate(model.spec.event_types, start=1)}
            numbers = np.asarray([kinds.get(kind, 0) for kind in row[contract.HISTORY_EVENT]], np.int32)
            history["events"] = tf.constant(np.where(mask, numbers[places], 0).astype(np.int32))
        user = None
        if names:
            columns = {
                name: _hidden(row[name], told[:, names.index(name)])
                for name in feature_names(model.spec.user_specs)
            }
            user = preparation.user_lookup(columns)
        words = tf.constant(list(texts), tf.string)
        return np.asarray(model.encode_queries(history, user, self._texts(texts), words))

    def _texts(self, texts: Sequence[bytes]) -> Any:
        encoder, model = self._bench.encoder, self._bench.model
        if not model.query_tower.text_width or encoder is None:
            return None

        def encode(wishes: Any) -> Any:
            distinct, places = np.unique(wishes.numpy().astype(object), return_inverse=True)
            return tf.constant(encoder.encode_all(distinct.tolist(), 32)[places])

        return wish_vectors(split_wishes(tf.constant(list(texts), tf.string)), encode)

    def _of_texts(self, items: npt.NDArray[np.int32], query: Floats, scale: Floats, known: bool) -> Arrays:
        """The outputs about the words of the items' texts."""
        found = [self._of_text(int(item), query) for item in items]
        width = max([0, *(len(words) for words, _, _ in found)])
        words, shares = np.full((len(items), width), b"", object), np.zeros((len(items), width))
        for place, (texts, _, added) in enumerate(found):
            words[place, : len(texts)] = [text.strip() for text in texts]
            shares[place, : len(texts)] = added * known
        baseline = np.asarray([bare for _, bare, _ in found]) if known else scale
        return {"item_word": words, "item_baseline": baseline, "item_word_contribution": shares}

    def _of_text(self, item: int, query: Floats) -> tuple[list[bytes], float, Floats]:
        """Words of an item's text, the score without them, what each adds; an unknown item has none."""
        preparation, encoder = self._bench.preparation, self._bench.encoder
        name = preparation.item_text
        assert encoder is not None and name is not None  # noqa: S101, PT018  the caller has asked
        if item < 0:
            return [], 0.0, np.zeros(0, np.float32)
        catalogue = preparation.catalogue
        parts = _parts(
            str(catalogue.columns[name][item]).encode(), self._limits.words, encoder.max_characters
        )
        places, there = coalitions(len(parts), self._limits.turns)
        one = {
            n: _column(catalogue.columns[n][item], len(there))
            for n in feature_names(preparation.spec.item_specs)
        }
        if name in one:
            one[name] = tf.constant([_joined(parts, mask) for mask in there])
        features = preparation.item_lookup(one)
        features[ID] = tf.fill([len(there)], item + 1 if item < catalogue.trained else 0)
        features[TEXT] = self._bench.model.projected(tf.constant(self._left(parts, there)))
        if (sketch := self._bench.model.sketch) is not None:
            features[LEXICAL] = sketch.items(tf.constant([_joined(parts, mask) for mask in there]))
        scores = np.asarray(self._bench.model.encode_items(features)) @ query
        return parts, float(scores[0]), contributions(scores[:, np.newaxis], places)[:, 0]

    def _left(self, parts: Sequence[bytes], there: Bools) -> Floats:
        """float32 [C, E] means over the pieces of the words that are left, read in their place."""
        assert self._read is not None  # noqa: S101  the caller has asked
        vectors, lengths = self._read(tf.constant([b"".join(parts)]), tf.constant(list(parts), tf.string))
        vectors = vectors.numpy()
        owner = np.repeat(np.arange(len(parts)), lengths.numpy())[: len(vectors) - 2]
        means = np.zeros((len(there), vectors.shape[1]), np.float32)
        for row, mask in enumerate(there):
            kept = np.concatenate([[True], mask[owner], [True]])
            means[row] = vectors[kept].mean(axis=0) if mask.any() else 0
        return means

    def _evidence(self, history: npt.NDArray[np.int32], items: npt.NDArray[np.int32]) -> Arrays:
        ids = np.full((len(items), EVIDENCE), b"", object)
        cosines = np.full((len(items), EVIDENCE), -np.inf, np.float32)
        unit = self._vectors / np.maximum(np.linalg.norm(self._vectors, axis=1, keepdims=True), 1e-12)
        for place, item in enumerate(items):
            if item >= 0:
                found = unit[history] @ unit[item]
                best = np.argsort(-found, kind="stable")[:EVIDENCE]
                cosines[place, : len(best)] = found[best]
                catalogue = self._bench.preparation.catalogue
                ids[place, : len(best)] = [catalogue.item_ids[history[one]].encode() for one in best]
        return {"nearest_item_id": ids, "nearest_cosine": cosines}


def coalitions(players: int, turns: int) -> tuple[npt.NDArray[np.int64], Bools]:
    """Places [2 turns, M] and who is there [2 turns (M + 1), M], as `trainer.explaining.coalitions` has them."""
    keys = np.arange(players) * 40_503 % 65_536
    first = np.argsort(np.argsort(keys))
    turned = [(first + turn * players // turns) % max(players, 1) for turn in range(turns)]
    places = np.stack([*turned, *(players - 1 - one for one in turned)])
    there = places[:, np.newaxis, :] < np.arange(players + 1)[:, np.newaxis]
    return places, there.reshape(-1, players)


def contributions(values: Floats, places: npt.NDArray[np.int64]) -> Floats:
    """float32 [M, D] what each player adds to float32 [2 turns (M + 1), D] values, averaged over the orders."""
    along = values.reshape(len(places), -1, values.shape[1])
    added = [np.diff(one, axis=0)[place] for one, place in zip(along, places, strict=True)]
    return np.asarray(np.mean(added, axis=0), np.float32)


def _parts(text: bytes, limit: int, max_characters: int) -> list[bytes]:
    cut = tf.strings.substr([text], 0, max_characters, unit="UTF8_CHAR")
    return [part for part in text_parts(cut, limit).numpy()[0].tolist() if part]


def _joined(parts: Sequence[bytes], there: Bools) -> bytes:
    return b"".join(part for part, shown in zip(parts, there, strict=True) if shown)


def _hidden(value: Any, told: Bools) -> Any:
    if isinstance(value, bytes):
        return tf.constant([value if one else b"" for one in told], tf.string)
    return tf.constant(np.where(told, np.float32(value), np.float32(np.nan)))


def _column(value: Any, rows: int) -> Any:
    if isinstance(value, str | tuple):
        return tf.constant([list(value) or [""] if isinstance(value, tuple) else value] * rows, tf.string)
    return tf.constant(np.repeat(np.asarray(value, np.float32)[np.newaxis], rows, axis=0))


def _repeated(values: Sequence[bytes], items: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    array = np.empty((len(items), len(values)), object)
    array[:] = np.asarray([*values, b""], object)[: len(values)]
    return array


def _reader(encoder: Any) -> Callable[[Any, Any], Any]:
    """Vectors [T, E] of a text's pieces, and how many pieces each of its parts has."""

    def read(text: Any, parts: Any) -> Any:
        return encoder.bert(encoder.pack(text)), encoder.pieces(parts).row_lengths()

    texts = tf.TensorSpec([None], tf.string)
    # Outside of a function the tokenizer answers with lists.
    return tf.function(read, input_signature=[texts, texts])  # type: ignore[no-any-return]
