"""The search: one training after the other, each in a run of its own that an interruption does not lose."""

from __future__ import annotations

import fcntl
import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.errors import ConfigError, RunError, TrainingDivergedError
from trainer.keras_compat import keras
from trainer.run import RunDirectory
from trainer.training import train
from trainer.tuning.outcome import BEST_FILE, trials_table, write_outcome
from trainer.tuning.space import Values, check_space, values_of, with_values
from trainer.tuning.study import (
    REASON,
    draw,
    finished,
    known_value,
    next_trial,
    open_study,
    take_up_interrupted,
)
from trainer.tuning.watcher import TrialWatcher
from trainer.workbench import encoder_fingerprint

_STUDY_FILE = "journal.log"


def search(
    config: ProjectConfig, split: str, console: Console, *, trials: int | None = None, overwrite: bool = False
) -> FrozenTrial | None:
    """Trains with drawn settings until there are enough trials, or goes on with a search that was interrupted.

    Args:
        config: The configuration file, with [tune].
        split: "leave_last_out" or "by_time".
        console: For progress.
        trials: How many in all, instead of `tune.trials`.
        overwrite: Forget what was tried before.

    Returns:
        The best trial, None where none ended by itself.

    Raises:
        ConfigError: the space names unknown fields or values.
        DatasetError: the dataset directory cannot be used.
        RunError: another process searches in the same folder.
    """
    settings, folder = config.tune, config.tune_dir(split)
    check_space(settings.space)
    dataset = DatasetDirectory.open(config.dataset_dir(split))
    wanted = trials or settings.trials
    with _alone(folder):
        if overwrite:
            _clear(folder)
        study = open_study(folder / _STUDY_FILE, _name(config, dataset), settings)
        _begin(study, config, console)
        while len(done := finished(study)) < wanted:
            trial = next_trial(study, settings)
            _run_trial(study, trial, config, split, console)
            best = write_outcome(folder, done := finished(study), settings.monitored)
            _say(trial, done, wanted, best, console)
        best = write_outcome(folder, done, settings.monitored)
        console.print(trials_table(done, settings.monitored))
        if best is not None:
            console.print(f"Best settings: {folder / BEST_FILE}; copy them into [train].", soft_wrap=True)
    return best


def _name(config: ProjectConfig, dataset: DatasetDirectory) -> str:
    """Searches of the same name have the same question: space, data, encoder and all other settings."""
    fixed = config.train.model_dump(mode="json")
    question = config.tune.model_dump(mode="json", exclude={"trials"})
    return digest_of(fixed, question, dataset.digest, encoder_fingerprint(config.encoder()))[:16]


def _begin(study: optuna.Study, config: ProjectConfig, console: Console) -> None:
    if resumed := take_up_interrupted(study):
        console.print(f"Going on with {resumed} interrupted trial.")
    if not study.get_trials(deepcopy=False) and (own := values_of(config.train, config.tune.space)):
        study.enqueue_trial(own)  # the file's own settings are what all others have to beat


def _run_trial(
    study: optuna.Study, trial: optuna.Trial, config: ProjectConfig, split: str, console: Console
) -> None:
    values = draw(trial, config.tune.space)
    console.print(f"Trial {trial.number}: {_listed(values)}", highlight=False)
    if (known := known_value(study, values)) is not None:
        study.tell(trial, known)
        return
    run = RunDirectory(config.tune_dir(split) / "runs" / digest_of(values)[:16])
    try:
        settings = with_values(config.train, {**_shortened(config), **values})
    except ConfigError as error:
        _fail(study, trial, error)
        return
    try:
        value = _train(trial, config.model_copy(update={"train": settings}), run, split, console)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except TrainingDivergedError as error:
        _fail(study, trial, error)
    else:
        study.tell(trial, value)
    # Its figures are kept; the checkpoints of all trials would fill a disk.
    shutil.rmtree(run.path, ignore_errors=True)


def _shortened(config: ProjectConfig) -> Values:
    return {"epochs": config.tune.epochs} if config.tune.epochs else {}


def _fail(study: optuna.Study, trial: optuna.Trial, error: Exception) -> None:
    trial.set_user_attr(REASON, str(error))
    study.tell(trial, state=TrialState.FAIL)


def _train(
    trial: optuna.Trial, config: ProjectConfig, run: RunDirectory, split: str, console: Console
) -> float:
    """The monitored figure of the best epoch."""
    watcher = TrialWatcher(trial, run, config.tune.monitored)
    try:
        train(config, split, console, run=run, watchers=[watcher])
    finally:
        keras.backend.clear_session()
        gc.collect()
    return float(run.finished()["validation"][config.tune.monitored])


def _say(
    trial: optuna.Trial, done: list[FrozenTrial], wanted: int, best: FrozenTrial | None, console: Console
) -> None:
    ended = next(other for other in done if other.number == trial.number)
    how = {
        TrialState.COMPLETE: f"{ended.value or 0.0:.4f}",
        TrialState.PRUNED: "stopped early",
    }.get(ended.state, f"impossible: {ended.user_attrs.get(REASON)}")
    leader = f"; best {best.value:.4f} (trial {best.number})" if best is not None else ""
    console.print(f"{len(done)} of {wanted} trials. Trial {trial.number}: {how}{leader}.", highlight=False)


def _listed(values: Values) -> str:
    return ", ".join(
        f"{field} {value:.4g}" if isinstance(value, float) else f"{field} {value}"
        for field, value in values.items()
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two searches in one folder would take up each other's trials."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"Another `twotower tune` is at work in {folder}. Wait for it, or search in another work_dir."
            ) from None
        yield


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
