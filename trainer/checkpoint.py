"""Checkpoints of a training run: all variables as arrays beside the state of the loop, written as a whole."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import RunError

_ARRAYS = "variables.npz"
_STATE = "state.json"
_COUNTED = re.compile(r"_\d+$")


def save_checkpoint(directory: Path, variables: list[Any], state: dict[str, Any]) -> None:
    """Writes a checkpoint beside its final name and renames it; an older one of that name is replaced.

    Args:
        directory: Where it appears.
        variables: Variables with `path` and `numpy()`, in a fixed order.
        state: JSON values that the loop needs to go on.
    """
    scratch = directory.with_name(f".tmp-{directory.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    np.savez(
        scratch / _ARRAYS,
        **{_key(index, variable): variable.numpy() for index, variable in enumerate(variables)},
    )
    (scratch / _STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    old = directory.with_name(f".old-{directory.name}")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():  # moved, not deleted: whoever is killed in between still has a checkpoint
        directory.rename(old)
    scratch.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(directory: Path, variables: list[Any]) -> dict[str, Any]:
    """Restores the variables and returns the state of the loop.

    Raises:
        RunError: the checkpoint cannot be read, or holds other variables than the model has.
    """
    state = read_state(directory)
    try:
        with np.load(directory / _ARRAYS, allow_pickle=False) as arrays:
            expected = {_key(index, variable): variable for index, variable in enumerate(variables)}
            if set(expected) != set(arrays.files):
                odd = sorted(set(expected) ^ set(arrays.files))
                raise RunError(
                    f"{directory} was written by a model with other variables (for example {odd[0]}). "
                    "Train again with `twotower train --overwrite`."
                )
            for key, variable in expected.items():
                variable.assign(arrays[key])
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"Cannot read the checkpoint {directory}: {error}.") from error
    return state


def read_state(directory: Path) -> dict[str, Any]:
    """The state of the loop alone.

    Raises:
        RunError: there is no readable checkpoint.
    """
    try:
        state = json.loads((directory / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"Cannot read the checkpoint {directory}: {error}. Train again with --overwrite."
        ) from error
    return dict(state)


def _key(index: int, variable: Any) -> str:
    """Place and name; without the numbers that Keras gives to the layers of a process in turn."""
    parts = [_COUNTED.sub("", part) for part in variable.path.split("/")]
    return f"{index:04d}:{'/'.join(parts)}"
