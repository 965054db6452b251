"""Precision, compilation and updates by rows, each from training over an interruption to an export in float32."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.trainer.conftest import TINY
from trainer.config import ProjectConfig, load_config
from trainer.evaluating import evaluate_run
from trainer.export import export
from trainer.keras_compat import keras, tf
from trainer.run import RunDirectory
from trainer.training import train

SPLIT, QUIET = "leave_last_out", Console(quiet=True)
MODES = {
    "mixed_bfloat16": 'precision = "mixed_bfloat16"',
    "mixed_float16": 'precision = "mixed_float16"',
    "compiled": 'jit_compile = true\ntable_optimizer = "lazy_adam"',
    "by rows": 'table_optimizer = "adagrad"',
    "mirrored": 'distribution = "mirrored"',
}


@pytest.fixture
def make(work, tmp_path):
    def made(name: str, mode: str) -> ProjectConfig:
        folder = tmp_path / name
        shutil.copytree(work / SPLIT / "dataset", folder / SPLIT / "dataset")
        shutil.copytree(work / "encoder", folder / "encoder")
        text = TINY.format(work=folder).replace("epochs = 20", "epochs = 3")
        (folder / "tiny.toml").write_text(text.replace("[train]\n", f"[train]\n{mode}\n"))
        return load_config(folder / "tiny.toml")

    return made


class Interrupted(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def kept(run: RunDirectory) -> dict[str, np.ndarray]:
    with np.load(run.last / "variables.npz") as found:
        return {name: found[name] for name in found.files}


def dtypes(version: Path) -> set[int]:
    """Of all tensors in an exported graph."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {attribute.type for node in nodes for attribute in node.attr.values() if attribute.type}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_trains_resumes_evaluates_and_exports(make, mode):
    whole, broken = make("whole", MODES[mode]), make("broken", MODES[mode])
    run = train(whole, SPLIT, QUIET)
    with pytest.raises(KeyboardInterrupt):
        train(broken, SPLIT, QUIET, watchers=[Interrupted()])
    resumed = train(broken, SPLIT, QUIET)
    expected, came = kept(run), kept(resumed)
    assert set(came) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(came[name], array, err_msg=name)
    losses = [row["loss"] for row in json.loads(run.history_file.read_text())]
    assert losses[-1] < losses[0]
    evaluate_run(whole, SPLIT, QUIET)
    assert whole.evaluation_file(SPLIT).is_file()
    found = dtypes(export(whole, SPLIT, QUIET))
    assert tf.float32.as_datatype_enum in found
    assert not found & {tf.bfloat16.as_datatype_enum, tf.float16.as_datatype_enum}
