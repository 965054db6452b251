"""Loads one version as a server does, answers files of requests, and measures itself.

Run as a program in a process of its own, so that memory and time are those of one version, and a version that crashes
takes nothing else with it. It imports TensorFlow and TF.Text, and nothing of ours.

    python asker.py SAVED_MODEL REQUESTS_FOLDER ANSWERS_FOLDER [OP_MODULE ...]

Every REQUESTS_FOLDER/NAME.tfrecord (PredictionLogs, as warm-up records are) becomes ANSWERS_FOLDER/NAME.npz, with
answer i of output `score` under `i/score`. Under `seconds` stands how long each call took, under `processor` how long
the cores worked for it; measured.json says how long loading took and how much memory the process has.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(saved_model: str, requests: str, answers: str, *op_modules: str) -> None:
    """Answers all files; `op_modules` register custom ops."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the ops of the tokenizer

    for module in op_modules:
        importlib.import_module(module)
    before = _resident_bytes()
    began = time.monotonic()
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], saved_model).signature_def
    load_seconds = time.monotonic() - began
    for file in sorted(Path(requests).glob("*.tfrecord")):
        _answer_file(session, signatures, file, Path(answers) / f"{file.stem}.npz")
    measured = {"load_seconds": load_seconds, "memory_bytes": _resident_bytes() - before}
    (Path(answers) / "measured.json").write_text(json.dumps(measured))


def _answer_file(session: Any, signatures: Any, file: Path, answers: Path) -> None:
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    found: dict[str, Any] = {}
    seconds: list[float] = []
    processor: list[float] = []
    for number, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(file))):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        definition = signatures[request.model_spec.signature_name]
        feeds = {
            definition.inputs[name].name: tf.make_ndarray(value) for name, value in request.inputs.items()
        }
        fetches = {name: tensor.name for name, tensor in definition.outputs.items()}
        began, before = time.perf_counter(), time.process_time()
        outputs = session.run(fetches, feeds)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - before)
        for name, array in outputs.items():
            found[f"{number}/{name}"] = array.astype("S") if array.dtype == object else array
    np.savez(answers, seconds=np.asarray(seconds), processor=np.asarray(processor), **found)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(*sys.argv[1:])
