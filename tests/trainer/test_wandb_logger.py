"""Weights & Biases without a network: what is logged, and what never is."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="needs twotower[wandb]")

from wandb.proto import wandb_internal_pb2

from trainer.config import ProjectConfig
from trainer.run import RunDirectory
from trainer.wandb_logger import WandbLogger

SPLIT = "by_time"
BLOCK = 32 * 1024
SECRET = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def config(tmp_path, monkeypatch) -> ProjectConfig:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    document = {"name": "films", "work_dir": tmp_path / "work", "features": {"splits": [SPLIT]}}
    return ProjectConfig.model_validate({**document, "train": {"seed": 7}})


def records(file: Path) -> Iterator[bytes]:
    """What stands in a file of wandb's: seven bytes, then records in blocks as LevelDB's log has them."""
    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # no room for a head: the next block
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def logged(run: RunDirectory) -> tuple[list[dict], list[str]]:
    """The figures of every epoch, and the kinds of records, of all files that wandb left in the run."""
    rows, kinds = [], []
    for file in sorted(run.path.glob("wandb/offline-run-*/*.wandb")):
        for data in records(file):
            record = wandb_internal_pb2.Record.FromString(data)
            kinds.append(record.WhichOneof("record_type"))
            items = record.history.item
            if items:
                rows.append(
                    {".".join([i.key, *i.nested_key]).strip("."): json.loads(i.value_json) for i in items}
                )
    return rows, kinds


def test_every_epoch_is_logged_also_after_an_interruption_and_nothing_else_is(config):
    run = RunDirectory(config.run_dir(SPLIT))
    names = []
    for epochs in ((0, 1), (2,)):  # killed between the two
        logger = WandbLogger("trial", config, SPLIT)
        logger.on_train_begin()
        names.append(logger._log.id)
        for epoch in epochs:
            logger.on_epoch_end(epoch, {"loss": 3.0 - epoch, "val_ndcg@10": 0.1 * epoch})
        logger.on_train_end()
        for folder in run.path.glob("wandb/offline-run-2*"):  # named by the second, and this takes less
            folder.rename(folder.with_name(f"offline-run-{epochs[0]}"))
    rows, kinds = logged(run)
    assert [(row["_step"], row["loss"]) for row in rows] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert names[0] == names[1]  # one run there
    assert not {"output", "output_raw", "stats", "artifact"} & set(kinds)
    for file in run.path.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert SECRET.encode() not in file.read_bytes(), file


def test_a_training_that_begins_anew_is_another_run_there(config):
    from trainer.wandb_logger import _kept_id

    run = RunDirectory(config.run_dir(SPLIT))
    first = _kept_id(run)
    assert _kept_id(run) == first
    run.write_manifest({"identity": "a", "finished": True})
    run.begin("b", overwrite=False)
    assert _kept_id(run) != first
