"""`twotower train` in a process of its own, killed at whatever it is doing, again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import TINY, write_work
from trainer.run import RunDirectory

ROOT = Path(__file__).parents[2]
# Dropout and draws of every kind: whatever could come out otherwise after a restart.
MORE = """
[train.model.item]
words = 50
word_dropout = 0.3
whiten_text = true
fusion = "add"

[train.retrieval]
softmax = "distinct"
uniform_negatives = 5
popularity_negatives = 4
adversarial_weight = 0.1
learned_temperature = true
"""


@pytest.fixture
def work(tmp_path, encoder):
    def make(name: str) -> tuple[Path, RunDirectory]:
        folder = tmp_path / name
        write_work(folder, encoder)
        (folder / "tiny.toml").write_text(TINY.format(work=folder) + MORE)
        return folder / "tiny.toml", RunDirectory(folder / "leave_last_out" / "model")

    return make


def start(config: Path) -> subprocess.Popen[bytes]:
    """Another interpreter that trains."""
    command = [sys.executable, str(ROOT / "twotower.py"), "train", str(config)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}, stdout=subprocess.DEVNULL
    )


def epoch_of(run: RunDirectory) -> int:
    try:
        return int(json.loads((run.last / "state.json").read_text())["epoch"])
    except (OSError, ValueError):
        return -1


def kill_after_epochs(config: Path, run: RunDirectory, epochs: int, pause: float) -> int:
    """SIGKILL when so many more epochs were kept, and a moment later; the epoch that is kept then."""
    wanted = epoch_of(run) + epochs
    process = start(config)
    try:
        while epoch_of(run) < wanted:
            assert process.poll() is None, "training ended before it could be killed"
            time.sleep(0.005)
        time.sleep(pause)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return epoch_of(run)


@pytest.mark.slow
def test_a_training_that_is_killed_ends_as_one_that_was_not(work):
    """Bit by bit: weights, optimizer, random number generators, and every figure on the way."""
    quiet_config, quiet = work("quiet")
    assert start(quiet_config).wait() == 0
    killed_config, killed = work("killed")
    kept = [kill_after_epochs(killed_config, killed, 2, pause) for pause in (0.0, 0.03, 0.1)]
    assert kept == sorted(set(kept))  # each time it went further
    assert kept[-1] < 19
    assert start(killed_config).wait() == 0
    assert killed.finished()["epochs"] == quiet.finished()["epochs"]
    assert json.loads(killed.history_file.read_text()) == json.loads(quiet.history_file.read_text())
    for place in ("last", "best"):
        with (
            np.load(getattr(quiet, place) / "variables.npz") as expected,
            np.load(getattr(killed, place) / "variables.npz") as came,
        ):
            assert set(came.files) == set(expected.files)
            for name in expected.files:
                np.testing.assert_array_equal(came[name], expected[name], err_msg=f"{place} {name}")
