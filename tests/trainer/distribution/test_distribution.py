"""Training on two devices of one machine, and in two processes over loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import TINY
from trainer.config import TrainConfig
from trainer.distribution import replicas
from trainer.distribution.placement import Placement
from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.run import RunDirectory

ROOT = Path(__file__).parents[3]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def test_alone_nothing_is_shared():
    rows = tf.constant([1, 2])
    assert replicas.count() == 1
    assert replicas.number() == 0
    assert replicas.gathered(rows) is rows
    assert replicas.total(rows) is rows


@pytest.mark.parametrize("value", [None, "", "{}", '{"cluster": {}}', "[1]"])
def test_several_machines_need_tf_config(monkeypatch, value):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ConfigError, match=r"TF_CONFIG, which is .*Expected"):
        Placement.of(TrainConfig(distribution="multi_worker"))


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    monkeypatch.setattr(Placement, "replicas", 3)
    with pytest.raises(ConfigError, match="batch_size = 16 cannot be divided among 3"):
        Placement.of(TrainConfig(batch_size=16))


@pytest.mark.parametrize(
    "change",
    [{"jit_compile": True}, {"precision": "mixed_float16"}, {"text": {"mode": "full"}}],
    ids=["compiled", "float16", "text"],
)
def test_what_needs_one_device_is_refused(change):
    with pytest.raises(ValueError, match="one_device"):
        TrainConfig.model_validate({"distribution": "mirrored", **change})


@pytest.mark.slow
def test_two_devices_take_the_step_of_one():
    """The same losses and gradients from the halves of a batch: all negatives are known to both."""
    script = Path(__file__).with_name("two_devices.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    differences = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == 7
    assert max(differences.values()) < 1e-4, differences


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def train_together(config: Path, workers: int) -> None:
    """`twotower train` in so many processes; each must end well."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, **QUIET}
        if workers > 1:
            environment["TF_CONFIG"] = json.dumps(cluster)
        command = [sys.executable, str(ROOT / "twotower.py"), "train", str(config)]
        processes.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in processes:
        try:
            output, _ = process.communicate(timeout=240)
        finally:
            process.kill()
        assert process.returncode == 0, output[-3000:]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(work, tmp_path):
    """Nothing is dropped or drawn here, so the losses of each epoch agree; the second process writes nothing."""
    losses = {}
    for name, distribution in (("one", "one_device"), ("two", "multi_worker")):
        folder = tmp_path / name
        shutil.copytree(work / "leave_last_out" / "dataset", folder / "leave_last_out" / "dataset")
        shutil.copytree(work / "encoder", folder / "encoder")
        text = TINY.format(work=folder).replace("epochs = 20", "epochs = 2")
        text = text.replace("[train]", f'[train]\ndistribution = "{distribution}"')
        text = text.replace("rate = 0.5", "rate = 0.0").replace(
            "queries_per_step = 32", "queries_per_step = 512"
        )
        text = text.replace("max_length = 6", "max_length = 6\ndropout = 0.0")
        text += "\n[train.model.item]\nid_dropout = 0.0\ndropout = 0.0\n"
        (folder / "tiny.toml").write_text(text)
        train_together(folder / "tiny.toml", 2 if name == "two" else 1)
        run = RunDirectory(folder / "leave_last_out" / "model")
        assert run.finished()["epochs"] == 2
        assert not list(folder.rglob(".tmp-*"))
        losses[name] = [row["retrieval_loss"] for row in json.loads(run.history_file.read_text())]
    np.testing.assert_allclose(losses["two"], losses["one"], rtol=1e-3)
