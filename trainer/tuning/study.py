"""The search's memory in a file, by Optuna: what was tried, what to try next, what to stop early."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from trainer.tuning.settings import Range, TuneConfig
from trainer.tuning.space import Space, Values

REASON = "reason"
"""Attribute of a trial that failed for good; one that was interrupted has none."""


def open_study(file: Path, name: str, settings: TuneConfig) -> optuna.Study:
    """Opens a search, or begins one.

    Args:
        file: A journal, one line a change, made with its folder where it is missing; it can hold many searches. Nobody
            else may have it open.
        name: Of the search.
        settings: Its sampler's and pruner's settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=_journal(file),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(settings.startup_trials, settings.warmup_epochs),
    )


def _journal(file: Path) -> JournalStorage:
    """The journal without what a kill in the middle of a change can leave: a lock, half a line."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(file)))


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that need no more work: trained, stopped early, or impossible."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or REASON in trial.user_attrs
    ]


def take_up_interrupted(study: optuna.Study) -> int:
    """Puts trials that were running when the search was killed first in the queue again, and returns their number."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
    return len(running)


def next_trial(study: optuna.Study, settings: TuneConfig) -> optuna.Trial:
    """The next trial; what is drawn depends on the seed and what has been found, not on interruptions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=settings.startup_trials,
            seed=settings.seed + len(finished(study)),
            multivariate=True,
        )
    return study.ask()


def draw(trial: optuna.Trial, space: Space) -> Values:
    """A value for every field."""
    return {field: _draw(trial, field, domain) for field, domain in space.items()}


def _draw(trial: optuna.Trial, field: str, domain: Any) -> Any:
    if not isinstance(domain, Range):
        return trial.suggest_categorical(field, domain)
    if domain.whole:
        return trial.suggest_int(
            field, int(domain.low), int(domain.high), step=int(domain.step or 1), log=domain.log
        )
    return trial.suggest_float(field, domain.low, domain.high, step=domain.step, log=domain.log)


def known_value(study: optuna.Study, values: Mapping[str, Any]) -> float | None:
    """What the same settings gave before in a trial that was not stopped early."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.params == values:
            return trial.value
    return None
