"""The figures of a training in Weights & Biases, for those who ask for it; see `twotower train --wandb`."""

from __future__ import annotations

import uuid
from typing import Any

import wandb

from trainer.config import ProjectConfig
from trainer.evaluation.files import write_text
from trainer.keras_compat import keras
from trainer.run import RunDirectory

_ID_FILE = "wandb_id.txt"


class WandbLogger(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs settings and the figures of every epoch, and nothing else: no code, console, machine or environment.

    Where they go, and whether at all (`WANDB_MODE=offline` keeps them in the run's folder), is decided by the
    environment variables of wandb, its key included; none of them is read or written here.

    Args:
        project: Name of the project there.
        config: The configuration file.
        split: Which of its runs.
    """

    def __init__(self, project: str, config: ProjectConfig, split: str) -> None:
        super().__init__()
        self._project = project
        self._config = config
        self._split = split
        self._log: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins a run there, or goes on with that of an interrupted training."""
        run = RunDirectory(self._config.run_dir(self._split))
        self._log = wandb.init(
            project=self._project,
            id=_kept_id(run),
            resume="allow",
            name=f"{self._config.name}, {self._split}",
            config=self._config.train.model_dump(mode="json"),
            dir=str(run.path),
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                save_code=False,
                silent=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Logs the figures under the number of the epoch."""
        self._log.log({name: float(value) for name, value in logs.items()}, step=epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the run there; one whose training was killed is taken up by the next start."""
        self._log.finish()


def _kept_id(run: RunDirectory) -> str:
    """The name of this training there: drawn once, removed with the run."""
    file = run.path / _ID_FILE
    if not file.exists():
        write_text(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")
