"""Tells a trial how its training goes, and ends it where others went better."""

from __future__ import annotations

from typing import Any

import optuna

from trainer.checkpoint import read_state
from trainer.keras_compat import keras
from trainer.run import RunDirectory


class TrialWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports the figure of every epoch.

    Args:
        trial: The trial.
        run: Its training; epochs that it did before an interruption are reported first.
        monitored: Name of the figure.
    """

    def __init__(self, trial: optuna.Trial, run: RunDirectory, monitored: str) -> None:
        super().__init__()
        self._trial = trial
        self._run = run
        self._monitored = monitored

    def on_train_begin(self, logs: Any = None) -> None:
        """Reports what is known from before."""
        if self._run.last.exists():
            for row in read_state(self._run.last)["history"]:
                self._trial.report(row[self._monitored], row["epoch"])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Reports, and stops a training that falls behind.

        Raises:
            optuna.TrialPruned: it does.
        """
        self._trial.report(float(logs[self._monitored]), epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned
