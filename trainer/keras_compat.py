"""The one place that decides which Keras is in use, imported before anything touches `tf.keras`.

Every model, layer and optimizer of ours is Keras 3 (`import keras`). TensorFlow Recommenders insists that `tf.keras`
be Keras 2, which TensorFlow only grants when `TF_USE_LEGACY_KERAS=1` is set before `tf.keras` is first touched.
"""

from __future__ import annotations

import os
import sys

if "keras.src.backend" in sys.modules and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(
        f"Keras was imported with the backend {os.environ['KERAS_BACKEND']!r}; twotower needs 'tensorflow'. "
        "Unset KERAS_BACKEND, or import trainer before keras."
    )

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # machines without a GPU need not hear about it

import keras
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the TF.Text ops of tokenizers and of exported models

if not tf.keras.__name__.startswith("tf_keras"):
    raise ImportError(
        "`tf.keras` was already bound to Keras 3 when trainer was imported, so TensorFlow Recommenders cannot be used. "
        "Import trainer before anything touches `tf.keras`, or set TF_USE_LEGACY_KERAS=1 in the environment."
    )

import tensorflow_recommenders as tfrs

__all__ = ["keras", "tf", "tfrs"]
