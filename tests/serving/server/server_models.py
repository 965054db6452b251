"""SavedModels for the tests, small enough to make in a moment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def parse(examples: Any) -> Any:
    """The float feature "x" of serialized examples, 0 where it is missing."""
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)})["x"]


class HalfPlusTwo(tf.Module):
    """y = a x + b, with a = 0.5 and b = 2 unless told otherwise; and a string look-up table."""

    def __init__(self, a: float = 0.5, b: float = 2.0, ballast: int = 0):
        super().__init__()
        self.a = tf.Variable(a)
        self.b = tf.Variable(b)
        self.ballast = tf.Variable(np.ones(ballast, np.float32))
        pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
        self.table = tf.lookup.StaticHashTable(pairs, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def affine(self, x: Any) -> Any:
        return {"y": self.a * x + self.b}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="x"),
            tf.TensorSpec([None], tf.float32, name="w"),
        ]
    )
    def two(self, x: Any, w: Any) -> Any:
        return {"sum": x + w, "difference": x - w}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="key")])
    def look_up(self, key: Any) -> Any:
        return {"index": self.table.lookup(key), "echo": key}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def top(self, x: Any) -> Any:
        return {"values": tf.math.top_k(x, k=2).values}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
    def scalar(self, x: Any) -> Any:
        return {"y": x + 1.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def checked(self, x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, message="negative input")]):
            return {"y": tf.sqrt(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: Any) -> Any:
        x = parse(inputs)
        labels = tf.tile(tf.constant([["low", "high"]]), [tf.shape(x)[0], 1])
        return {"classes": labels, "scores": tf.stack([1.0 - x, x], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: Any) -> Any:
        return {"outputs": self.a * parse(inputs) + self.b}

    def signatures(self) -> dict[str, Any]:
        return {
            "serving_default": self.affine,
            "two": self.two,
            "look_up": self.look_up,
            "top": self.top,
            "scalar": self.scalar,
            "checked": self.checked,
            "classify": self.classify,
            "regress": self.regress,
        }


def export(base: Path, version: int | str, module: HalfPlusTwo | None = None, **settings: Any) -> Path:
    """Writes a version beside its final name and renames it; returns its directory."""
    module = module or HalfPlusTwo(**settings)
    scratch = base / f"tmp-{version}"
    tf.saved_model.save(module, str(scratch), signatures=module.signatures())
    final = base / str(version)
    scratch.rename(final)
    return final


def copy_version(source: Path, base: Path, version: int | str) -> Path:
    """Publishes a copy of a version directory under another number, by rename."""
    scratch = base / f"tmp-{version}"
    base.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, scratch)
    return scratch.rename(base / str(version))
