"""A Keras model trained epoch by epoch, from the last checkpoint on; what is trained does not matter here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from trainer.callbacks import MONITORED, Checkpoints, ProgressBar, StopWhenDiverged, Validation
from trainer.checkpoint import load_checkpoint
from trainer.keras_compat import keras
from trainer.run import RunDirectory


@dataclass(frozen=True)
class Schedule:
    """How long a training goes on.

    Attributes:
        epochs: At most so many.
        steps: Of an epoch.
        patience: Epochs without a better figure after which training stops.
        monitored: Name of that figure; higher is better.
        patience_from: Epochs at the beginning in which patience does not run out.
    """

    epochs: int
    steps: int
    patience: int
    monitored: str = MONITORED
    patience_from: int = 0


class EpochLoop(Protocol):
    """Goes through the epochs `first_epoch` to `epochs` of a compiled model, calling Keras' callbacks."""

    def __call__(
        self, model: Any, batches: Any, *, first_epoch: int, epochs: int, steps: int, callbacks: list[Any]
    ) -> None:
        """Trains; raises what a callback raises."""
        ...


def keras_loop(
    model: Any, batches: Any, *, first_epoch: int, epochs: int, steps: int, callbacks: list[Any]
) -> None:
    """Keras' own loop, which serves one device."""
    model.fit(
        batches,
        initial_epoch=first_epoch,
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )


def fit_resumably(
    model: Any,
    variables: list[Any],
    run: RunDirectory,
    batches: Callable[[int], Any],
    measure: Callable[[], dict[str, float]],
    console: Console,
    schedule: Schedule,
    *,
    begin_from: Path | None = None,
    callbacks: Sequence[Any] = (),
    loop: EpochLoop = keras_loop,
) -> dict[str, Any]:
    """Trains, or goes on where an interrupted run stopped.

    Args:
        model: Compiled.
        variables: All that a resumed run needs, in a fixed order.
        run: Where checkpoints are.
        batches: The tf.data.Dataset of an epoch and all after it.
        measure: Gives the validation figures of an epoch by name.
        console: For progress.
        schedule: How long.
        begin_from: The checkpoint to go on from if it exists; by default the last one of the run.
        callbacks: Of Keras; they see an epoch after its checkpoint was written.
        loop: Goes through the epochs.

    Returns:
        The state of the loop, as `Checkpoints` keeps it.
    """
    begin_from = begin_from or run.last
    state = load_checkpoint(begin_from, variables) if begin_from.exists() else {}
    first = state.get("epoch", -1) + 1
    checkpoints = Checkpoints(
        run, variables, schedule.patience, state, schedule.monitored, schedule.patience_from
    )
    if first:
        console.print(f"Going on after epoch {first} of an interrupted run.")
    if first < schedule.epochs and not (first and checkpoints.exhausted):
        progress = ProgressBar(console, schedule.epochs, schedule.steps, first, schedule.monitored)
        always = [
            Validation(measure),
            StopWhenDiverged(),
            checkpoints,
            keras.callbacks.TensorBoard(str(run.logs), write_graph=False, update_freq="epoch"),
            progress,
        ]
        try:
            loop(
                model,
                batches(first),
                first_epoch=first,
                epochs=schedule.epochs,
                steps=schedule.steps,
                callbacks=[*always, *callbacks],
            )
        finally:
            progress.close()
    return checkpoints.state
