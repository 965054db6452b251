"""The search itself: what it draws, what an interruption costs, what it stops early."""

from __future__ import annotations

import io
import json
import math
import shutil
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", reason="needs twotower[tune]")

from rich.console import Console

from trainer.checkpoint import save_checkpoint
from trainer.config import ProjectConfig
from trainer.errors import ConfigError, RunError, TrainingDivergedError
from trainer.run import RunDirectory
from trainer.tuning import search as searching
from trainer.tuning.search import search
from trainer.tuning.settings import TuneConfig

SPLIT = "leave_last_out"
QUIET = Console(quiet=True)
SPACE = {
    "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "model.history.heads": [1, 2, 4],
    "batch_size": {"low": 4, "high": 16, "step": 4},
}


@pytest.fixture
def project(config: ProjectConfig, tmp_path) -> ProjectConfig:
    """The tiny dataset in a folder of its own, three heads of ten trials at random."""
    (tmp_path / SPLIT).mkdir()
    (tmp_path / SPLIT / "dataset").symlink_to(config.dataset_dir(SPLIT))
    (tmp_path / "encoder").symlink_to(config.encoder())
    tune = TuneConfig(trials=8, startup_trials=3, warmup_epochs=1, space=SPACE)
    return config.model_copy(update={"work_dir": tmp_path, "tune": tune})


@pytest.fixture
def training(monkeypatch):
    """Stands for training: the figure of an epoch is known from the settings, checkpoints are real files.

    The best rate is .01. `kill_at` (trial, epoch) interrupts once; `begun` notes (rate, first epoch).
    """
    seen = SimpleNamespace(begun=[], kill_at=None, diverge_above=math.inf)

    def train(config, split, console, *, run, watchers):
        settings = config.train
        if settings.learning_rate > seen.diverge_above:
            raise TrainingDivergedError("loss became NaN")
        (watcher,) = watchers
        watcher.on_train_begin()
        history = json.loads((run.last / "state.json").read_text())["history"] if run.last.exists() else []
        seen.begun.append((settings.learning_rate, len(history)))
        top = 1 - abs(math.log10(settings.learning_rate) + 2) / 4 + settings.batch_size / 1000
        for epoch in range(len(history), 4):
            if seen.kill_at == (len(seen.begun), epoch):
                seen.kill_at = None
                raise KeyboardInterrupt
            row = {"epoch": epoch, "val_ndcg@10": top * (epoch + 1) / 4}
            history.append(row)
            save_checkpoint(run.last, [], {"history": history})
            watcher.on_epoch_end(epoch, row)
        run.write_manifest({"finished": True, "validation": history[-1]})
        return run

    monkeypatch.setattr(searching, "train", train)
    return seen


def rows(project: ProjectConfig) -> list[dict]:
    return json.loads((project.tune_dir(SPLIT) / "trials.json").read_text())["trials"]


def test_it_begins_with_the_files_own_settings_and_finds_better_ones(project, training):
    best = search(project, SPLIT, QUIET)
    first = rows(project)[0]
    own = project.train
    assert first["params"] == {
        "learning_rate": own.learning_rate,
        "model.history.heads": own.model.history.heads,
        "batch_size": own.batch_size,
    }
    assert len(rows(project)) == 8
    assert best.value == max(row["value"] for row in rows(project) if row["state"] == "done")
    for row in rows(project):
        assert 0.001 <= row["params"]["learning_rate"] <= 0.1
        assert row["params"]["batch_size"] in (4, 8, 12, 16)


def test_trials_that_fall_behind_are_stopped_early_and_leave_no_checkpoints(project, training):
    search(project, SPLIT, QUIET)
    stopped = [row for row in rows(project) if row["state"] == "stopped early"]
    assert stopped
    assert all(1 < len(row["epochs"]) < 4 for row in stopped)  # one epoch is always allowed
    assert list((project.tune_dir(SPLIT) / "runs").iterdir()) == []


def test_an_interrupted_search_ends_as_one_that_was_not(project, training, tmp_path):
    search(project, SPLIT, QUIET)
    expected = [(row["params"], row["state"], row["value"]) for row in rows(project)]
    shutil.rmtree(project.tune_dir(SPLIT))
    training.begun.clear()
    training.kill_at = (3, 2)
    with pytest.raises(KeyboardInterrupt):
        search(project, SPLIT, QUIET)
    printed = io.StringIO()
    search(project, SPLIT, Console(file=printed, width=200))
    assert "Going on with 1 interrupted trial." in printed.getvalue()
    assert training.begun[3] == (training.begun[2][0], 2)  # after the two epochs that it had
    assert [(row["params"], row["state"], row["value"]) for row in rows(project)] == expected


def test_half_a_line_in_the_journal_is_not_the_end_of_a_search(project, training):
    search(project, SPLIT, QUIET, trials=2)
    journal = project.tune_dir(SPLIT) / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":6,"wor')
    journal.with_name("journal.log.lock").symlink_to(journal)
    search(project, SPLIT, QUIET, trials=3)
    assert journal.read_bytes().startswith(whole)
    assert len(rows(project)) == 3


def test_a_finished_search_trains_nothing_and_more_trials_go_on(project, training):
    search(project, SPLIT, QUIET, trials=3)
    training.begun.clear()
    search(project, SPLIT, QUIET, trials=3)
    assert training.begun == []
    search(project, SPLIT, QUIET, trials=5)
    assert 1 <= len(training.begun) <= 2  # settings that were drawn before are not trained again
    assert len(rows(project)) == 5
    search(project, SPLIT, QUIET, trials=2, overwrite=True)
    assert len(rows(project)) == 2


def test_another_question_is_another_search(project, training):
    search(project, SPLIT, QUIET, trials=3)
    changed = project.model_copy(update={"train": project.train.model_copy(update={"weight_decay": 0.1})})
    training.begun.clear()
    search(changed, SPLIT, QUIET, trials=2)
    assert len(training.begun) == 2


def test_settings_that_do_not_go_together_or_diverge_are_told_and_passed_over(project, training):
    tune = project.tune.model_copy(update={"space": {**project.tune.space, "model.history.heads": (2, 3)}})
    training.diverge_above = 0.012
    search(project.model_copy(update={"tune": tune}), SPLIT, QUIET)
    reasons = {row["reason"] for row in rows(project) if row["state"] == "impossible"}
    assert reasons == {"loss became NaN"} | {
        reason for reason in reasons if "heads = 3 must divide embedding_dim = 16" in reason
    }
    assert len(reasons) == 2
    assert any(row["state"] == "done" for row in rows(project))


def test_what_is_wrong_for_every_trial_ends_the_search(project, monkeypatch):
    def train(*arguments, **named):
        raise ConfigError("There is no text encoder folder")

    monkeypatch.setattr(searching, "train", train)
    with pytest.raises(ConfigError, match="no text encoder"):
        search(project, SPLIT, QUIET)


def test_two_searches_do_not_share_a_folder(project, training):
    with searching._alone(project.tune_dir(SPLIT)), pytest.raises(RunError, match="Another `twotower tune`"):
        search(project, SPLIT, QUIET)


def test_an_unknown_field_is_refused_before_anything_is_trained(project, training):
    tune = TuneConfig(space={"learning_rates": (0.1, 0.2)})
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        search(project.model_copy(update={"tune": tune}), SPLIT, QUIET)
    assert training.begun == []


def test_a_real_training_is_judged_by_validation_alone(project):
    """One trial of one epoch; the test events are taken away first."""
    dataset = project.dataset_dir(SPLIT)
    copy = dataset.resolve()
    dataset.unlink()
    shutil.copytree(copy, dataset)
    for file in (dataset / "sequences" / "test").iterdir():
        file.write_bytes(b"")
    tune = project.tune.model_copy(update={"epochs": 1, "space": {"learning_rate": (0.01, 0.02)}})
    best = search(project.model_copy(update={"tune": tune}), SPLIT, QUIET, trials=1)
    assert [len(row["epochs"]) for row in rows(project)] == [1]
    assert best.value == max(row["value"] for row in rows(project)) > 0
    assert not RunDirectory(project.run_dir(SPLIT)).path.exists()
    assert (project.tune_dir(SPLIT) / "best.toml").read_text().endswith("[train]\nlearning_rate = 0.01\n")
