"""Models of the serving benchmarks, and requests for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np


def make_light_model(base: Path) -> None:
    """User id -> look-up -> exact top 100 of 10,000 random item vectors of 64 numbers -> scores and ids."""
    import tensorflow as tf

    users, items, dim, k = 10_000, 10_000, 64, 100
    rng = np.random.default_rng(7)
    names = [f"user{i}" for i in range(users)]

    class Light(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users = tf.Variable(rng.normal(size=(users + 1, dim)).astype(np.float32))
            self.items = tf.Variable(rng.normal(size=(items, dim)).astype(np.float32))
            self.ids = tf.constant([f"item{i}" for i in range(items)])
            pairs = tf.lookup.KeyValueTensorInitializer(names, tf.range(users, dtype=tf.int64))
            self.table = tf.lookup.StaticHashTable(pairs, users)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="user")])
        def recommend(self, user: Any) -> Any:
            query = tf.gather(self.users, self.table.lookup(user))
            score, index = tf.math.top_k(tf.matmul(query, self.items, transpose_b=True), k)
            return {"score": score, "item_id": tf.gather(self.ids, index)}

    module = Light()
    tf.saved_model.save(module, str(base / "1"), signatures={"serving_default": module.recommend})


def light_requests(name: str) -> list[bytes]:
    """64 requests of one user each."""
    return string_requests(name, "user", [f"user{i * 37}" for i in range(64)])


def make_text_model(base: Path, encoder: Path) -> None:
    """Text -> BERT without padding -> exact top 100 of 10,000 random item vectors of its width -> scores and ids."""
    import tensorflow as tf

    from trainer.text_encoder import load_text_encoder

    items, k = 10_000, 100

    class Text(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = load_text_encoder(str(encoder), max_tokens=64, max_characters=512)
            drawn = np.random.default_rng(7).normal(size=(items, self.encoder.width))
            self.items = tf.Variable(drawn.astype(np.float32))
            self.ids = tf.constant([f"item{i}" for i in range(items)])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def recommend(self, text: Any) -> Any:
            query = self.encoder(text)
            score, index = tf.math.top_k(tf.matmul(query, self.items, transpose_b=True), k)
            return {"score": score, "item_id": tf.gather(self.ids, index)}

    module = Text()
    tf.saved_model.save(module, str(base / "1"), signatures={"serving_default": module.recommend})


def string_requests(name: str, column: str, values: list[str]) -> list[bytes]:
    """One request a value, of one row."""
    from serving.wire.messages import PredictRequest
    from serving.wire.tensors import encode_strings

    result = []
    for value in values:
        request = PredictRequest()
        request.model_spec.name = name
        request.inputs[column].CopyFrom(encode_strings([value], [1]))
        result.append(request.SerializeToString())
    return result


def make_model(version: Path, megabytes: int) -> None:
    """One affine signature, 0.5 x + 1, with ballast of this size in its variables."""
    import tensorflow as tf

    class Affine(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ballast = tf.Variable(np.ones(megabytes * 262_144, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def run(self, x: Any) -> Any:
            return {"y": 0.5 * x + tf.constant(1.0, name="answer")}

    module = Affine()
    tf.saved_model.save(module, str(version), signatures={"serving_default": module.run})


def derive_model(source: Path, version: Path, answer: float) -> None:
    """A model that adds another number: its own graph, the source's variables (linked, to spare the disk)."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, version, copy_function=os.link)
    file = version / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in proto.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.name == "answer":
                node.attr["value"].tensor.float_val[:] = [answer]
    file.unlink()
    file.write_bytes(proto.SerializeToString())


def publish(source: Path, base: Path, number: int) -> None:
    """Links a version under another number, by rename."""
    scratch = base / f"tmp-{number}"
    shutil.copytree(source, scratch, copy_function=os.link)
    scratch.rename(base / str(number))
