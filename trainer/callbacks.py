"""What happens around the training steps: validation, checkpoints, progress, a stop when the loss explodes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from trainer.checkpoint import save_checkpoint
from trainer.errors import TrainingDivergedError
from trainer.keras_compat import keras
from trainer.run import RunDirectory, write_json

MONITORED = "val_ndcg@10"


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds validation figures to the logs of each epoch, for the callbacks that follow.

    Args:
        measure: Gives the figures by name.
    """

    def __init__(self, measure: Callable[[], dict[str, float]]) -> None:
        super().__init__()
        self._measure = measure

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Measures."""
        logs.update(self._measure())


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the last and the best epoch, and stops when the best is long ago.

    Args:
        run: Where to keep them.
        variables: All that a resumed run needs, in a fixed order.
        patience: Epochs without a better figure after which training stops.
        state: State of the loop from the last checkpoint, or an empty one.
    """

    def __init__(self, run: RunDirectory, variables: list[Any], patience: int, state: dict[str, Any]) -> None:
        super().__init__()
        self._run = run
        self._variables = variables
        self._patience = patience
        self.state = {"epoch": -1, "best_epoch": -1, "best": -math.inf, "history": [], **state}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Writes what has come, whole or not at all."""
        row = {"epoch": epoch, **{name: float(value) for name, value in logs.items()}}
        self.state["epoch"] = epoch
        self.state["history"] = [*self.state["history"], row]
        if better := row[MONITORED] > self.state["best"]:
            self.state.update(best=row[MONITORED], best_epoch=epoch)
        write_json(self._run.history_file, self.state["history"])
        if better:
            save_checkpoint(self._run.best, self._variables, self.state)
        save_checkpoint(self._run.last, self._variables, self.state)
        if self.exhausted:
            self.model.stop_training = True

    @property
    def exhausted(self) -> bool:
        """Whether the best epoch is `patience` epochs ago."""
        return bool(self.state["epoch"] - self.state["best_epoch"] >= self._patience)


class StopWhenDiverged(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises at the first epoch whose mean loss is not finite, before a checkpoint is written."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Checks every loss."""
        bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
        if bad:
            raise TrainingDivergedError(
                f"In epoch {epoch + 1} {', '.join(bad)} became NaN or infinite. The checkpoint of the epoch "
                "before is kept. Lower train.learning_rate or train.clip_norm, or look for extreme values in the "
                "dataset's numbers."
            )


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]
    """One bar for the whole training on a terminal, one line an epoch elsewhere.

    Args:
        console: Where to draw.
        epochs: Of the whole training.
        steps: Of an epoch.
        first_epoch: Where a resumed run goes on.
    """

    def __init__(self, console: Console, epochs: int, steps: int, first_epoch: int) -> None:
        super().__init__()
        self._console = console
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps · {task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=epochs * steps, completed=first_epoch * steps, figures="first epoch"
        )
        self._began = time.monotonic()

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the bar."""
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves it on."""
        self._bar.advance(self._task)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock of the epoch."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Shows the figures of the epoch."""
        figures = " ".join(
            f"{name} {float(value):.4f}" for name, value in logs.items() if name in ("loss", MONITORED)
        )
        self._bar.update(self._task, figures=f"epoch {epoch + 1}/{self._epochs} {figures}")
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._began
            self._console.print(
                f"  epoch {epoch + 1}/{self._epochs}: {figures} ({seconds:.1f} s)", highlight=False
            )

    def close(self) -> None:
        """Leaves the terminal as it was, also after an interruption."""
        self._bar.stop()
