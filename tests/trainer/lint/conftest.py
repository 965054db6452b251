"""SavedModels written by TensorFlow, small and each with one thing the linter should see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from trainer.lint.file_checks import WARMUP_FILE


def write_warmup(folder: Path, *signatures: str) -> None:
    """One record a name, without inputs."""
    (folder / WARMUP_FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for name in signatures:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = name
            writer.write(log.SerializeToString())


def _named(function: Callable) -> Callable:
    return lambda x: {"y": function(x)}


Save = Callable[..., Path]


@pytest.fixture(name="write_warmup")
def write_warmup_fixture() -> Callable[..., None]:
    return write_warmup


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves functions of one argument as signatures: ``save(name=(function, spec), ...)``."""

    def save_functions(module: tf.Module | None = None, **functions: tuple[Callable, tf.TensorSpec]) -> Path:
        module = module or tf.Module()
        signatures = {}
        for name, (function, spec) in functions.items():
            traced = tf.function(_named(function), input_signature=[spec])
            setattr(module, f"_{name}", traced)
            signatures[name] = traced.get_concrete_function()
        folder = tmp_path / "model" / "3"
        tf.saved_model.save(module, str(folder), signatures=signatures)
        write_warmup(folder, *functions)
        return folder

    return save_functions
