"""Loads a SavedModel as a stranger would, and answers requests from a file.

Run as a program in a process of its own: it imports TensorFlow and TF.Text, and nothing of ours.

    python stranger.py SAVED_MODEL WARMUP_FILE ANSWERS.npz

The requests are the model's own warm-up records; answer i of output `score` is stored as `i/score`.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def main(saved_model: str, requests: str, answers: str) -> None:
    """Answers every record of `requests` with the signature that it names."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the ops of the tokenizer
    from tensorflow_serving.apis import prediction_log_pb2

    loaded = tf.saved_model.load(saved_model)
    found: dict[str, Any] = {}
    for number, record in enumerate(tf.data.TFRecordDataset(requests).as_numpy_iterator()):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        for name, value in loaded.signatures[request.model_spec.signature_name](**inputs).items():
            array = value.numpy()
            found[f"{number}/{name}"] = array.astype("S") if array.dtype == object else array
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
