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
from trainer.diagnostics import collapse
from trainer.errors import TrainingDivergedError
from trainer.keras_compat import keras
from trainer.run import RunDirectory, write_json

MONITORED = "val_ndcg@10"
_EXPLOSION = 100.0
_DIVERGED = (
    "The checkpoint of the epoch before is kept. Lower train.learning_rate or train.clip_norm, or look for extreme "
    "values in the dataset's numbers, and run `twotower train` again: changed settings begin anew."
)


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
        monitored: Name of the figure that decides which epoch is best; higher is better.
        patience_from: Epochs at the beginning in which patience does not run out.
    """

    def __init__(
        self,
        run: RunDirectory,
        variables: list[Any],
        patience: int,
        state: dict[str, Any],
        monitored: str = MONITORED,
        patience_from: int = 0,
    ) -> None:
        super().__init__()
        self._patience_from = patience_from
        self._monitored = monitored
        self._run = run
        self._variables = variables
        self._patience = patience
        self.state = {"epoch": -1, "best_epoch": -1, "best": -math.inf, "history": [], **state}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Writes what has come, whole or not at all."""
        row = {"epoch": epoch, **{name: float(value) for name, value in logs.items()}}
        self.state["epoch"] = epoch
        self.state["history"] = [*self.state["history"], row]
        if better := row[self._monitored] > self.state["best"]:
            self.state.update(best=row[self._monitored], best_epoch=epoch)
        write_json(self._run.history_file, self.state["history"])
        if better:
            save_checkpoint(self._run.best, self._variables, self.state)
        save_checkpoint(self._run.last, self._variables, self.state)
        if self.exhausted:
            self.model.stop_training = True

    @property
    def exhausted(self) -> bool:
        """Whether the best epoch is `patience` epochs ago."""
        return bool(
            self.state["epoch"] - max(self.state["best_epoch"], self._patience_from - 1) >= self._patience
        )


class StopWhenDiverged(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises at the first step after which a loss is not finite, and at an epoch whose losses have exploded.

    Either comes before a checkpoint is written, so the last one is of the epoch before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0
        self._least = math.inf

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which one it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the losses, means since the epoch began, in which one NaN stays."""
        self._refuse(self._epoch, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Checks every figure, and compares the loss with the best epoch's."""
        self._refuse(epoch, logs)
        loss = float(logs.get("loss", 0.0))
        if loss > _EXPLOSION * max(self._least, 1.0):
            raise TrainingDivergedError(
                f"In epoch {epoch + 1} the loss rose to {loss:.3g}, after {self._least:.3g} in an epoch before. "
                f"{_DIVERGED}"
            )
        self._least = min(self._least, loss)

    @staticmethod
    def _refuse(epoch: int, logs: dict[str, Any]) -> None:
        bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
        if bad:
            raise TrainingDivergedError(
                f"In epoch {epoch + 1} {', '.join(bad)} became NaN or infinite. {_DIVERGED}"
            )


class WarnOfCollapse(keras.callbacks.Callback):  # type: ignore[misc]
    """Says once that items or answers have become alike, which a falling loss does not show.

    Args:
        console: Where to say it.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._said = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Looks at the validation figures of the epoch."""
        problem = None if self._said else collapse({name: float(value) for name, value in logs.items()})
        if problem is not None:
            self._console.print(f"  Warning, epoch {epoch + 1}: {problem}", highlight=False)
            self._said = True


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]
    """One bar for the whole training on a terminal, one line an epoch elsewhere.

    Args:
        console: Where to draw.
        epochs: Of the whole training.
        steps: Of an epoch.
        first_epoch: Where a resumed run goes on.
        monitored: Name of the figure to show beside the loss.
    """

    def __init__(
        self, console: Console, epochs: int, steps: int, first_epoch: int, monitored: str = MONITORED
    ) -> None:
        super().__init__()
        self._shown = ("loss", monitored)
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
            f"{name} {float(value):.4f}" for name, value in logs.items() if name in self._shown
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
