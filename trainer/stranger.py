"""Loads a SavedModel as a stranger would, and answers requests from a file.

Run as a program in a process of its own: it imports TensorFlow and TF.Text, and nothing of ours.

    python stranger.py SAVED_MODEL REQUESTS ANSWERS.npz [OP_MODULE ...]
    python stranger.py -    # imports TensorFlow, then reads the arguments of `main` as JSON from standard input

The file holds requests as a model's warm-up file does. They are answered twice: by `tf.saved_model.load`, as other
TensorFlow code does it ("code"), and in a TF1 session, as TensorFlow Serving does it ("server"); the two restore
variables in different ways. Answer i of output `score` is stored as `code/i/score` and `server/i/score`.
Signatures that only say the same in another way are asked by the server's route alone: preparing each graph costs
seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

Answer = Callable[[str, dict[str, Any]], dict[str, Any]]
Request = tuple[int, str, dict[str, Any]]
"""Its number in the file, its signature, its inputs."""


ROUTES = ("code", "server")
WAIT = "-"


def main(
    saved_model: str,
    requests: str,
    answers: str,
    *op_modules: str,
    routes: Sequence[str] = ROUTES,
    optimize: bool = True,
) -> None:
    """Answers every record of `requests` with the signature that it names.

    Args:
        saved_model: Its folder.
        requests: A file of requests.
        answers: Where to write.
        op_modules: Register custom ops.
        routes: The ways to load it.
        optimize: Whether the server's session optimizes graphs before it runs them, which takes most of the time where
            each signature is asked once or twice.
    """
    _import_tensorflow()
    import numpy as np

    for module in op_modules:
        importlib.import_module(module)
    found: dict[str, Any] = {}
    for route in routes:
        answer = _as_code(saved_model) if route == "code" else _as_server(saved_model, optimize)
        asked: dict[str, list[Request]] = {}
        for number, (signature, inputs) in enumerate(_records(requests)):
            if route in routes_of(signature):
                asked.setdefault(signature, []).append((number, signature, inputs))
        # A session prepares the graphs of several signatures at once, but each only once.
        with ThreadPoolExecutor(1 if route == "code" else os.cpu_count()) as pool:
            for answered in pool.map(partial(_answers, route, answer), asked.values()):
                for number, outputs in answered:
                    for name, array in outputs.items():
                        stored = array.astype("S") if array.dtype == object else array
                        found[f"{route}/{number}/{name}"] = stored
    np.savez(answers, **found)


def _answers(route: str, answer: Answer, asked: Sequence[Request]) -> list[tuple[int, dict[str, Any]]]:
    """By number of a request its answer; says which one it was that failed."""
    answered = []
    for number, signature, inputs in asked:
        try:
            answered.append((number, answer(signature, inputs)))
        except Exception:
            shapes = {name: array.shape for name, array in inputs.items()}
            print(f"Request {number} failed ({route}: {signature}, {shapes}).", file=sys.stderr)
            raise
    return answered


def routes_of(signature: str) -> tuple[str, ...]:
    """How a signature is asked."""
    repeats = signature == "serving_default" or signature.endswith("_examples")
    return ("server",) if repeats else ("code", "server")


def _records(requests: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Signature and input arrays of each warm-up record."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.compat.v1.io.tf_record_iterator(requests):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def _as_code(saved_model: str) -> Answer:
    import tensorflow as tf

    loaded = tf.saved_model.load(saved_model)

    def answer(signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        return {name: value.numpy() for name, value in loaded.signatures[signature](**tensors).items()}

    return answer


def _as_server(saved_model: str, optimize: bool) -> Answer:
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], saved_model).signature_def

    def answer(signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        definition = signatures[signature]
        feeds = {definition.inputs[name].name: array for name, array in inputs.items()}
        fetches = {name: tensor.name for name, tensor in definition.outputs.items()}
        found: dict[str, Any] = session.run(fetches, feeds)
        return found

    return answer


def _import_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow_text  # noqa: F401  registers the ops of the tokenizer
    from tensorflow_serving.apis import prediction_log_pb2  # noqa: F401


def _wait() -> None:
    """Does what standard input says; nothing if it closes, because nobody asks any more."""
    _import_tensorflow()
    said = sys.stdin.read()
    if said:
        question = json.loads(said)
        main(*question["arguments"], **question["options"])


if __name__ == "__main__":
    if sys.argv[1:] == [WAIT]:
        _wait()
    else:
        main(*sys.argv[1:])
