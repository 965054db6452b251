"""A model with the signatures of an export whose answers can be computed by hand, and a dataset for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from beam_pipelines.build import build_dataset
from beam_pipelines.config import load_config

CATALOGUE, K = 12, 5


def write_model(folder: Path, factor: float = 1.0) -> Path:
    """`score`: factor * (sum of the ids' numbers + age), ids joined; refuses rows with the id "bad"."""

    class Model(tf.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(factor, dtype=tf.float32)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None], tf.string, name="ids"),
                tf.TensorSpec([None], tf.float32, name="age"),
                tf.TensorSpec([None], tf.int64, name="count"),
                tf.TensorSpec([None, 2], tf.float32, name="place"),
                tf.TensorSpec([None, None, None], tf.int32, name="grid"),
                tf.TensorSpec([None], tf.bool, name="asked"),
            ]
        )
        def score(self, ids: Any, age: Any, count: Any, place: Any, grid: Any, asked: Any) -> Any:
            good = tf.reduce_all(tf.not_equal(ids, "bad"))
            check = tf.debugging.Assert(good, ["an id is bad"])
            with tf.control_dependencies([check]):
                numbers = tf.strings.to_number(tf.where(tf.equal(ids, ""), "0", ids))
            return {
                "score": self.factor * tf.reduce_sum(numbers, axis=1),
                "ids": tf.strings.reduce_join(ids, axis=1, separator=","),
                "age": age,
                "count": count,
                "place": place,
                "cells": tf.reduce_sum(grid, axis=[1, 2]),
                "asked": asked,
                "batch": tf.fill([tf.shape(ids)[0]], tf.shape(ids)[0]),
                "width": tf.fill([tf.shape(ids)[0]], tf.shape(ids)[1]),
            }

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={"score": model.score, "serving_default": model.score})
    return folder


def write_recommender(folder: Path, bonus: float = 0.0) -> Path:
    """A model with the signatures of an export over items "i0" to "i11", of a few lines.

    Item n has the score n + bonus + 0.01 * (events of the history); lists have 5 places. `embed_query` gives
    [events, length of the query], `embed_item` [length of the text, year]. The query "bad" is refused.
    """
    ids = tf.constant([f"i{n}" for n in range(CATALOGUE)])
    numbers = tf.range(CATALOGUE, dtype=tf.float32)
    strings = {
        name: tf.TensorSpec([None, None], tf.string, name=name)
        for name in ("exclude_item_id", "allow_category")
    }
    side = {
        "history_item_id": tf.TensorSpec([None, None], tf.string, name="history_item_id"),
        "query": tf.TensorSpec([None], tf.string, name="query"),
        "age": tf.TensorSpec([None], tf.float32, name="age"),
    }

    def events(inputs: Any) -> Any:
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(inputs["query"] != "bad"), ["a bad query"])]
        ):
            return tf.reduce_sum(tf.cast(inputs["history_item_id"] != "", tf.float32), axis=1)

    def best(scores: Any, gone: Any) -> Any:
        hidden = tf.reduce_any(gone[:, :, tf.newaxis] == ids, axis=1)
        found = tf.math.top_k(tf.where(hidden, -float("inf"), scores), K)
        names = tf.where(tf.math.is_finite(found.values), tf.gather(ids, found.indices), "")
        return {"item_id": names, "score": found.values}

    class Part(tf.Module):  # type: ignore[misc,name-defined]
        pass

    class Model(tf.Module):  # type: ignore[misc,name-defined]
        @tf.function
        def recommend(self, **inputs: Any) -> Any:
            scores = numbers + bonus + 0.01 * events(inputs)[:, tf.newaxis]
            return best(scores, tf.concat([inputs["history_item_id"], inputs["exclude_item_id"]], axis=1))

        @tf.function
        def rank(self, **inputs: Any) -> Any:
            known = inputs["item_id"][:, :, tf.newaxis] == ids
            scores = (
                tf.reduce_sum(tf.where(known, numbers + bonus, 0.0), axis=2)
                + 0.01 * events(inputs)[:, tf.newaxis]
            )
            return {"score": tf.where(tf.reduce_any(known, axis=2), scores, float("nan"))}

        @tf.function
        def explain(self, **inputs: Any) -> Any:
            items, history = inputs["item_id"], inputs["history_item_id"]
            baseline = self.rank(**{**inputs, "history_item_id": tf.zeros_like(history)})["score"]
            share = tf.where(history == "", 0.0, 0.01)[:, tf.newaxis]
            words = tf.strings.split(inputs["query"]).to_tensor()[:, tf.newaxis]
            count, one = tf.shape(items)[1], tf.ones_like(baseline)[:, :, tf.newaxis]
            return {
                "score": self.rank(**inputs)["score"],
                "baseline": baseline,
                "completeness_error": tf.zeros_like(baseline),
                "history_item_id": tf.repeat(history[:, tf.newaxis], count, axis=1),
                "history_contribution": share * one,
                "query_word": tf.repeat(words, count, axis=1),
                "query_word_contribution": tf.zeros_like(words, tf.float32) * one,
                "user_feature": tf.fill(tf.shape(one), "age"),
                "user_feature_contribution": 0.0 * one,
                "nearest_item_id": items[:, :, tf.newaxis],
                "nearest_cosine": one,
            }

        @tf.function
        def embed_query(self, **inputs: Any) -> Any:
            length = tf.cast(tf.strings.length(inputs["query"]), tf.float32)
            return {"embedding": tf.stack([events(inputs), length], axis=1)}

        @tf.function
        def embed_item(self, text: Any, year: Any) -> Any:
            return {
                "embedding": tf.stack([tf.cast(tf.strings.length(text), tf.float32), year + bonus], axis=1)
            }

        @tf.function
        def similar_items(self, item_id: Any) -> Any:
            known = tf.reduce_any(item_id[:, tf.newaxis] == ids, axis=1)[:, tf.newaxis]
            scores = tf.where(
                known, tf.broadcast_to(numbers, [tf.shape(item_id)[0], CATALOGUE]), -float("inf")
            )
            return best(scores, item_id[:, tf.newaxis])

    model = Model()
    model._index = Part()  # where an export keeps what it searches
    model._index.items, model._index.vectors = Part(), Part()
    model._index.items.values = tf.Variable(ids)
    model._index.vectors.values = tf.Variable(tf.stack([numbers, numbers * 2], axis=1))
    one = {"item_id": tf.TensorSpec([None], tf.string, name="item_id")}
    many = {"item_id": tf.TensorSpec([None, None], tf.string, name="item_id")}
    features = {
        "text": tf.TensorSpec([None], tf.string, name="text"),
        "year": tf.TensorSpec([None], tf.float32, name="year"),
    }
    signatures = {
        "recommend": model.recommend.get_concrete_function(**side, **strings),
        "retrieve": model.recommend.get_concrete_function(**side, **strings),
        "rank": model.rank.get_concrete_function(**side, **many),
        "explain": model.explain.get_concrete_function(**side, **many),
        "embed_query": model.embed_query.get_concrete_function(**side),
        "embed_item": model.embed_item.get_concrete_function(**features),
        "similar_items": model.similar_items.get_concrete_function(**one),
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return folder


SHOP = """\
[features.events]
files = ["events*.csv"]
user_id = "user"
item_id = "item"
timestamp = "time"

[features.items]
files = ["items.csv"]
id = "item"
text = "text"
numerics = { year = "year" }

[features.users]
files = ["users.csv"]
id = "user"
numerics = { age = "age" }
"""


def write_files(data: Path, users: int = 30, more: str = "") -> None:
    """Users "u00", "u01", ... with 3 to 6 events each. `more`: further lines of events."""
    data.mkdir(parents=True, exist_ok=True)
    rows = [f"u{u:02d},i{(u + e) % CATALOGUE},{1000 + e}" for u in range(users) for e in range(3 + u % 4)]
    (data / "events.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n" + more)
    items = "".join(f"i{n},{'x' * n},{2000 + n}\n" for n in range(CATALOGUE))
    (data / "items.csv").write_text("item,text,year\n" + items)
    (data / "users.csv").write_text("user,age\n" + "".join(f"u{u:02d},{20 + u}\n" for u in range(users)))


def build_shop(root: Path, users: int = 30, more: str = "") -> Path:
    """The dataset of `write_files`."""
    write_files(root / "data", users, more)
    top = f'name = "shop"\nwork_dir = "{root}"\n[features]\nsplits = ["leave_last_out"]\nreport = false\nshards = 4\n'
    (root / "shop.toml").write_text(top + SHOP)
    config = load_config(root / "shop.toml")
    return build_dataset(config, "leave_last_out", str(root / "data"), overwrite=True).path
