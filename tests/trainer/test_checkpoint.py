"""Checkpoints, the directory of a run, and version directories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer import checkpoint
from trainer.checkpoint import load_checkpoint, read_state, save_checkpoint
from trainer.errors import RunError
from trainer.keras_compat import keras
from trainer.run import RunDirectory, write_json
from trainer.versions import newest_version, next_version, versions


def variables(scale: float = 1.0, width: int = 3, names: tuple[str, ...] = ("kernel", "bias")):
    kernel = keras.Variable(scale * np.arange(2 * width).reshape(2, width), dtype="float32", name=names[0])
    count = keras.Variable(int(7 * scale), dtype="int64", name=names[1])
    return [kernel, count]


def test_what_is_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path / "runs" / "last", variables(), {"epoch": 3, "history": [{"loss": 0.1}]})
    fresh = variables(0.0)
    assert load_checkpoint(tmp_path / "runs" / "last", fresh) == {"epoch": 3, "history": [{"loss": 0.1}]}
    for came, expected in zip(fresh, variables(), strict=True):
        np.testing.assert_array_equal(came.numpy(), expected.numpy())
    assert read_state(tmp_path / "runs" / "last")["epoch"] == 3


def test_a_newer_checkpoint_takes_the_place_of_the_older(tmp_path):
    for epoch in (0, 1):
        save_checkpoint(tmp_path / "last", variables(1.0 + epoch), {"epoch": epoch})
    fresh = variables(0.0)
    assert load_checkpoint(tmp_path / "last", fresh) == {"epoch": 1}
    assert fresh[1].numpy() == 14
    assert [child.name for child in tmp_path.iterdir()] == ["last"]  # nothing else is left


@pytest.mark.parametrize("step", ["savez", "rename"])
def test_an_interrupted_write_leaves_the_older_checkpoint(tmp_path, monkeypatch, step):
    save_checkpoint(tmp_path / "last", variables(), {"epoch": 0})

    def dies(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((np, "savez", dies) if step == "savez" else (Path, "rename", dies)))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path / "last", variables(2.0), {"epoch": 1})
    fresh = variables(0.0)
    assert load_checkpoint(tmp_path / "last", fresh) == {"epoch": 0}
    assert fresh[1].numpy() == 7
    save_checkpoint(tmp_path / "last", variables(2.0), {"epoch": 1})  # what was left over is no obstacle
    assert [child.name for child in tmp_path.iterdir()] == ["last"]


def test_the_numbers_that_keras_gives_to_layers_do_not_matter():
    class Named:
        def __init__(self, path):
            self.path = path

    assert checkpoint._key(4, Named("tower_12/dense_3/kernel")) == "0004:tower/dense/kernel"
    assert checkpoint._key(4, Named("tower/layer_2b/kernel")) == "0004:tower/layer_2b/kernel"


@pytest.mark.parametrize(
    "other",
    [variables(names=("kernel", "scale")), variables()[:1], [*variables(), *variables()]],
    ids=["name", "fewer", "more"],
)
def test_variables_of_another_model_are_refused(tmp_path, other):
    save_checkpoint(tmp_path / "last", variables(), {})
    with pytest.raises(RunError, match=r"other variables \(for example 000.*--overwrite"):
        load_checkpoint(tmp_path / "last", other)


def test_variables_of_another_shape_are_refused(tmp_path):
    save_checkpoint(tmp_path / "last", variables(), {})
    with pytest.raises(RunError, match="Cannot read the checkpoint"):
        load_checkpoint(tmp_path / "last", variables(width=4))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_file_is_told(tmp_path, share):
    save_checkpoint(tmp_path / "last", variables(), {})
    file = tmp_path / "last" / "variables.npz"
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(RunError, match=f"Cannot read the checkpoint {tmp_path / 'last'}"):
        load_checkpoint(tmp_path / "last", variables())


def test_flipped_bits_are_told(tmp_path):
    save_checkpoint(tmp_path / "last", variables(), {})
    file = tmp_path / "last" / "variables.npz"
    raw = bytearray(file.read_bytes())
    raw[raw.index(np.float32(5.0).tobytes())] ^= 0xFF  # the last number of the kernel
    file.write_bytes(raw)
    with pytest.raises(RunError, match="Cannot read the checkpoint"):
        load_checkpoint(tmp_path / "last", variables())


def test_a_missing_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="--overwrite"):
        read_state(tmp_path / "last")


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory(tmp_path / "model")


def test_a_run_that_has_not_begun(run):
    assert run.manifest() is None
    with pytest.raises(RunError, match="Run `twotower train` first"):
        run.finished()


def test_an_interrupted_run(run):
    run.write_manifest({"identity": "x", "finished": False})
    assert run.manifest()["identity"] == "x"
    with pytest.raises(RunError, match="Run `twotower train` again to go on"):
        run.finished()


def test_a_finished_run(run):
    run.write_manifest({"identity": "x", "finished": True, "epochs": 3})
    assert run.finished()["epochs"] == 3
    assert [child.name for child in run.path.iterdir()] == ["run.json"]


def test_a_run_of_another_version(run):
    write_json(run.manifest_file, {"format": "twotower-run", "version": 99, "finished": True})
    with pytest.raises(RunError, match=r"not a run of this version.*--overwrite"):
        run.finished()


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b""])
def test_a_damaged_manifest(run, content):
    run.path.mkdir()
    run.manifest_file.write_bytes(content)
    with pytest.raises(RunError, match="--overwrite"):
        run.manifest()


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "a" / "b.json"
    write_json(file, [1])
    with pytest.raises(TypeError):
        write_json(file, {1, 2})
    assert json.loads(file.read_text()) == [1]


def test_versions_are_whole_numbers(tmp_path):
    assert versions(tmp_path / "none") == []
    assert newest_version(tmp_path) is None
    assert next_version(tmp_path) == 1
    for name in ("2", "10", ".tmp-11", "12a", "-3", "latest"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file")
    assert versions(tmp_path) == [2, 10]
    assert newest_version(tmp_path) == tmp_path / "10"  # by number, not by name
    assert next_version(tmp_path) == 11
    shutil.rmtree(tmp_path / "10")
    assert next_version(tmp_path) == 3
