"""A Keras model trained epoch by epoch, from the last checkpoint on; what is trained does not matter here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from trainer.callbacks import Checkpoints, ProgressBar, StopWhenDiverged, Validation
from trainer.checkpoint import load_checkpoint
from trainer.keras_compat import keras
from trainer.run import RunDirectory


def fit_resumably(
    model: Any,
    variables: list[Any],
    run: RunDirectory,
    batches: Callable[[int], Any],
    measure: Callable[[], dict[str, float]],
    console: Console,
    *,
    epochs: int,
    steps: int,
    patience: int,
    monitored: str,
) -> dict[str, Any]:
    """Trains, or goes on where an interrupted run stopped.

    Args:
        model: Compiled.
        variables: All that a resumed run needs, in a fixed order.
        run: Where checkpoints are.
        batches: The tf.data.Dataset of an epoch and all after it.
        measure: Gives the validation figures of an epoch by name.
        console: For progress.
        epochs: At most so many.
        steps: Of an epoch.
        patience: Epochs without a better figure after which training stops.
        monitored: Name of that figure; higher is better.

    Returns:
        The state of the loop, as `Checkpoints` keeps it.
    """
    state = load_checkpoint(run.last, variables) if run.last.exists() else {}
    first = state.get("epoch", -1) + 1
    checkpoints = Checkpoints(run, variables, patience, state, monitored)
    if first:
        console.print(f"Going on after epoch {first} of an interrupted run.")
    if first < epochs and not (first and checkpoints.exhausted):
        progress = ProgressBar(console, epochs, steps, first, monitored)
        logs = keras.callbacks.TensorBoard(str(run.logs), write_graph=False, update_freq="epoch")
        try:
            model.fit(
                batches(first),
                initial_epoch=first,
                epochs=epochs,
                steps_per_epoch=steps,
                shuffle=False,
                verbose=0,
                callbacks=[Validation(measure), StopWhenDiverged(), checkpoints, logs, progress],
            )
        finally:
            progress.close()
    return checkpoints.state
