"""The served model: raw strings in, ranked ids out, everything a caller needs inside the graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainer import contract
from trainer.features import FeatureLookup, FeatureSpecs
from trainer.index import ItemIndex
from trainer.item_tower import ID, TEXT
from trainer.keras_compat import tf
from trainer.listing import Head, Lists, Tensors
from trainer.model import TwoTowerModel
from trainer.neighbours.scores import neighbour_scores, recency
from trainer.new_items import item_flags, query_flags
from trainer.places import in_rows
from trainer.rules.permission import Permission
from trainer.text_encoder import TextEncoder
from trainer.wishes import WishVectors, split_wishes, wish_vectors


class ServingModel(tf.Module):  # type: ignore[misc]
    """Joins encoder, towers, ranking head and index behind named signatures.

    Args:
        model: The trained model.
        encoder: Its text encoder, None without text.
        item_lookup: Raw item features to tower inputs.
        user_lookup: Raw user features to tower inputs.
        item_text: Name of the item text feature, None without one.
        index: The catalogue.
        k: Length of the lists.
        max_history: Longer histories are cut to their most recent part.
        side: tf.TensorSpec of each input that says who asks for what, by name; the same for all signatures that take a
            query.
        facts: What `describe` answers.
    """

    def __init__(
        self,
        model: TwoTowerModel,
        encoder: TextEncoder | None,
        item_lookup: FeatureLookup,
        user_lookup: FeatureLookup,
        item_text: str | None,
        index: ItemIndex,
        *,
        k: int,
        max_history: int,
        side: Tensors,
        facts: Mapping[str, Any],
    ) -> None:
        super().__init__(name="serving_model")
        layers = _Layers(model, encoder)
        self._layers = layers
        # What is saved are these TensorFlow variables. Keras' own wrappers would be saved as copies of them, and a
        # server, which restores by the graph alone, would fill the copies and leave the variables themselves empty.
        self._variables = layers.variables()
        self._sketch = model.sketch
        # Kept by the numbers of ID embeddings, so that another catalogue changes nothing in them.
        self._neighbours = neighbour_variables(model) if model.blend.neighbours else ()
        self._resources = layers.resources()
        self._item_lookup, self._user_lookup = item_lookup, user_lookup
        self._index = index
        self._side_names = frozenset(side)
        self._events = _event_table(model.spec.event_types)
        # A variable and not a constant: an index that changes must be able to say so.
        self._facts = tf.Variable(json.dumps(facts, sort_keys=True), trainable=False, name="facts")
        self._settings = _Settings(model, item_text, k, max_history)
        ranking, repeats = model.config.ranking, model.config.repeats
        self._lists = Lists(index, k, ranking.candidates, self._settings.temperature, repeats=repeats)
        # Traced once and called by every signature, so that BERT stands in the file once.
        self._text_vectors = tf.function(
            self._encode_texts, input_signature=[tf.TensorSpec([None], tf.string)]
        )
        self._query_side = tf.function(self._compute_query_side, input_signature=[dict(side)])

    def recommend(self, inputs: Tensors) -> Tensors:
        """Retrieves candidates, then puts them in the order of the ranking head."""
        side = self._side_of(inputs)
        return self._listed(inputs, side, lambda rows: self._ranked(side, rows))

    def retrieve(self, inputs: Tensors) -> Tensors:
        """The best items by the product of query and item vectors alone."""
        return self._listed(inputs, self._side_of(inputs), None)

    def rank(self, inputs: Tensors) -> Tensors:
        """Ranking scores of given items; NaN for unknown ids."""
        rows = self._index.rows_of(inputs[contract.ITEM_ID])
        scores = self._ranked(self._side_of(inputs), rows)
        return {contract.SCORE: tf.where(rows >= 0, scores, np.float32(np.nan))}

    def embed_query(self, inputs: Tensors) -> Tensors:
        """The query vector."""
        return {contract.EMBEDDING: self._side_of(inputs)["query"]}

    def embed_item(self, inputs: Tensors) -> Tensors:
        """The vector of an item that is described by its features, as if it were new."""
        rows = tf.shape(next(iter(inputs.values())))[0]
        return self._embedded(inputs, tf.zeros([rows], tf.int32))

    def embed_known_item(self, inputs: Tensors) -> Tensors:
        """The same with the item's ID embedding, if it has one: for an item whose description has changed."""
        rows = self._index.rows_of(inputs[contract.ITEM_ID])
        described = {name: value for name, value in inputs.items() if name != contract.ITEM_ID}
        return self._embedded(described, self._index.id_rows_of(rows))

    def _embedded(self, inputs: Tensors, ids: Any) -> Tensors:
        features = self._item_lookup(inputs) | {ID: ids}
        if self._settings.item_text is not None and self._layers.encoder is not None:
            features[TEXT] = self._text_vectors(inputs[self._settings.item_text])
        return {contract.EMBEDDING: self._item_vectors(features, inputs)}

    def _item_vectors(self, features: Tensors, inputs: Tensors) -> Any:
        """float32 [B, D] vectors of items from tower inputs and, for the sketch of their words, raw ones."""
        parts = [self._settings.normalized(self._layers.item_tower(features, training=False))]
        if self._sketch is not None and self._settings.item_text is not None:
            parts.append(self._sketch.items(inputs[self._settings.item_text]))
        if self._settings.head_start:
            parts.append(item_flags(features[ID]))
        return tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]

    def similar_items(self, inputs: Tensors) -> Tensors:
        """The items whose vectors have the highest cosine with that of a given one."""
        rows = self._index.rows_of(inputs[contract.ITEM_ID])
        cosines = Permission(rows[:, tf.newaxis]).apply(self._index.cosines(rows))
        cosines = tf.where(rows[:, tf.newaxis] >= 0, cosines, np.float32(-np.inf))
        scores, found = self._index.best(cosines, self._settings.k)
        return self._answer(found, scores)

    def describe(self, inputs: Tensors) -> Tensors:
        """The model's facts as JSON, once a row."""
        return {"json": tf.fill(tf.shape(inputs["detail"]), tf.convert_to_tensor(self._facts))}

    def _side_of(self, inputs: Tensors) -> Tensors:
        return dict(
            self._query_side({name: value for name, value in inputs.items() if name in self._side_names})
        )

    def _encode_texts(self, texts: Any) -> Any:
        """Vectors of string [B] as the towers read them: float32 [B, E], or `train.text.width` wide."""
        if self._layers.encoder is None:
            return tf.zeros([tf.shape(texts)[0], 0])
        distinct, places = tf.unique(texts)
        return tf.gather(self._layers.projected(self._layers.encoder.encode_present(distinct)), places)

    def _compute_query_side(self, inputs: Tensors) -> Tensors:
        """Query vector, history and what is known at all, from raw inputs."""
        rows = self._index.rows_of(inputs[contract.HISTORY_ITEM_ID])
        columns = {"items": rows}
        if contract.HISTORY_TIMESTAMP in inputs:
            columns["timestamps"] = inputs[contract.HISTORY_TIMESTAMP]
        if contract.HISTORY_EVENT in inputs:
            columns["events"] = self._events.lookup(inputs[contract.HISTORY_EVENT])
        history = compact_history(columns, self._settings.max_history)
        mask = history["items"] >= 0
        history |= {"vectors": self._index.gather(history["items"]), "mask": mask}
        user = self._user_lookup(inputs) if self._settings.user_features else None
        text, asked = WishVectors(None, None), tf.zeros([tf.shape(rows)[0]], tf.bool)
        reads = self._settings.query_text and self._layers.encoder is not None
        if reads or self._sketch is not None:
            wishes = split_wishes(inputs[contract.QUERY])
            asked = wishes.asked()
            text = wish_vectors(wishes, self._text_vectors) if reads else text
        learned = history | {"vectors": self._settings.learned(history["vectors"])}
        query = self._settings.normalized(self._layers.query_tower(learned, user, *text))
        if self._sketch is not None:
            words = self._settings.lexical_weight * self._sketch.asked(wishes, self._settings.unwanted_words)
            query = tf.concat([query, words + self._history_words(history)], axis=1)
        if self._settings.head_start:
            query = tf.concat([query, query_flags(tf.shape(rows)[0], self._settings.head_start)], axis=1)
        known = asked | tf.reduce_any(mask, axis=1)
        return {"query": query, "history": history, "known": known, "seen": rows}

    def _history_words(self, history: Tensors) -> Any:
        """float32 [B, S], or 0 where they do not count: the sketches of the items of a history."""
        blend, width = self._settings.blend, self._settings.width
        if self._sketch is None or not blend.history_words:
            return 0.0
        sketches = history["vectors"][..., width : width + self._sketch.width]
        total = tf.einsum("bl,bls->bs", recency(history["mask"], blend.words_half_life), sketches)
        return blend.history_words * self._settings.temperature * total

    def _listed(self, inputs: Tensors, side: Tensors, head: Head | None) -> Tensors:
        rows, scores, propensity = self._lists(inputs, side, head)
        return self._answer(rows, scores) | {contract.PROPENSITY: propensity}

    def _ranked(self, side: Tensors, rows: Any) -> Any:
        """float32 [B, N] ranking scores of int32 [B, N] rows."""
        history, scale = side["history"], self._index.scale_of(rows)
        items, learned, blend = self._index.gather(rows), self._settings.learned, self._settings.blend
        scores, _ = self._layers.ranking_head(
            learned(side["query"]),
            learned(history["vectors"]),
            history["mask"],
            learned(items),
            scale,
            strength=blend.correction,
            training=False,
        )
        if blend.neighbours:
            past, wanted = self._index.id_rows_of(history["items"]), self._index.id_rows_of(rows)
            ids, weights = (tf.convert_to_tensor(part) for part in self._neighbours)
            scores += blend.neighbours * neighbour_scores(ids, weights, past, wanted, blend.half_life)
        if self._settings.appends:
            width = self._settings.width
            behind = tf.einsum("bd,bnd->bn", side["query"][:, width:], items[..., width:])
            scores += behind / self._settings.temperature
        return tf.where(side["known"][:, tf.newaxis], scores, scale)

    def _answer(self, rows: Any, scores: Any) -> Tensors:
        return {contract.ITEM_ID: self._index.ids_of(rows, scores), contract.SCORE: scores}


class _Layers:
    """The Keras layers, out of sight of TensorFlow's tracking."""

    def __init__(self, model: TwoTowerModel, encoder: TextEncoder | None) -> None:
        self.encoder = encoder
        self.item_tower = model.item_tower
        self.query_tower = model.query_tower
        self.ranking_head = model.ranking_head
        self.projected, self._projection = model.projected, model.text_projection

    def variables(self) -> list[Any]:
        """The TensorFlow variables behind all weights, in a fixed order."""
        towers = (self.item_tower, self.query_tower, self.ranking_head)
        encoder = self.encoder.bert.variables if self.encoder is not None else ()
        projection = self._projection.weights if self._projection is not None else ()
        weights = [*(weight for part in towers for weight in part.weights), *projection]
        return [*(weight.value for weight in weights), *encoder]

    def resources(self) -> list[Any]:
        """What a server makes of the variables when it initialises the model."""
        return list(self.encoder.bert.resources) if self.encoder is not None else []


class _Settings:
    """Python values and functions that a traced graph closes over; not tracked, so never saved."""

    def __init__(self, model: TwoTowerModel, item_text: str | None, k: int, max_history: int) -> None:
        config = model.config
        self.item_text = item_text
        self.k = k
        self.max_history = max_history
        self.temperature = float(model.temperature)
        self.user_features = bool(model.spec.user_specs) and config.model.user_features
        self.query_text = model.query_tower.text_width > 0
        self.blend, self.appends = model.blend, model.appends
        self.head_start = config.model.new_item_head_start * self.temperature
        self.learned = model.learned
        self.width = config.model.embedding_dim
        self.lexical_weight = config.model.lexical_weight * self.temperature
        self.unwanted_words = config.query_text.unwanted_words
        cosine = config.retrieval.similarity == "cosine"
        self.normalized: Callable[[Any], Any] = lambda x: tf.math.l2_normalize(x, axis=-1) if cosine else x


def neighbour_variables(model: TwoTowerModel) -> tuple[Any, ...]:
    """The neighbours of trained items as TensorFlow variables: their ids and weights."""
    return tuple(
        tf.Variable(part, trainable=False, name=f"neighbour_{name}")
        for name, part in zip(("ids", "weights"), model.neighbours or (), strict=True)
    )


def compact_history(columns: Tensors, max_length: int) -> Tensors:
    """Moves the known events of each row to the front, in order, and keeps the most recent `max_length`.

    Args:
        columns: "items" int32 [B, H] rows, -1 = padding or unknown, anywhere; further columns [B, H] beside it.
        max_length: Events to keep.

    Returns:
        The same columns [B, min(H, max_length)]; padding stands on the right, as -1 in "items" and 0 elsewhere.
    """
    items = columns["items"]
    rows, width = tf.shape(items)[0], tf.minimum(tf.shape(items)[1], max_length)
    known = items >= 0
    total = tf.reduce_sum(tf.cast(known, tf.int32), axis=1, keepdims=True)
    place = tf.cumsum(tf.cast(known, tf.int32), axis=1) - 1 - tf.maximum(total - width, 0)
    place = tf.where(known & (place >= 0), place, width)  # one spare column takes what is left out
    places = in_rows(place)

    def moved(name: str, column: Any) -> Any:
        empty = tf.fill([rows, width + 1], tf.constant(-1 if name == "items" else 0, column.dtype))
        return tf.tensor_scatter_nd_update(empty, places, column)[:, :-1]

    return {name: moved(name, column) for name, column in columns.items()}


def _event_table(types: tuple[str, ...]) -> Any:
    keys = tf.constant(list(types) or [""], tf.string)
    rows = tf.range(1, len(types) + 1, dtype=tf.int32) if types else tf.zeros([1], tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, rows), default_value=0)


def user_input_specs(specs: FeatureSpecs) -> Tensors:
    """Signature inputs of the user features: string [B] a category, float32 [B] a number."""
    inputs = {spec.name: tf.TensorSpec([None], tf.string, name=spec.name) for spec in specs.categories}
    return inputs | {spec.name: tf.TensorSpec([None], tf.float32, name=spec.name) for spec in specs.numerics}
