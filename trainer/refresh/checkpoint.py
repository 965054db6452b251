"""All variables of a SavedModel by name, read and written without its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import ExportError
from trainer.keras_compat import tf

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

Arrays = dict[str, Any]
"""NumPy arrays by the path of a variable from the model's root; strings are object arrays of bytes."""


def read_variables(version_dir: Path, wanted: Callable[[str], bool] = lambda path: True) -> Arrays:
    """Reads the variables of a version.

    Args:
        version_dir: The version.
        wanted: Says of a path whether to read it.

    Raises:
        ExportError: the files cannot be read.
    """
    try:
        reader = tf.train.load_checkpoint(str(_prefix(version_dir)))
        return {
            name.removesuffix(_VALUE): reader.get_tensor(name)
            for name in reader.get_variable_to_dtype_map()
            if wanted(name.removesuffix(_VALUE))
        }
    except (ValueError, tf.errors.OpError) as error:
        raise ExportError(f"Cannot read the variables of {version_dir}: {error}.") from error


def variable_names(version_dir: Path) -> set[str]:
    """Paths of the variables of a version; none for a model that has no variables."""
    if not _prefix(version_dir).with_suffix(".index").is_file():
        return set()
    return {name.removesuffix(_VALUE) for name, _ in tf.train.list_variables(str(_prefix(version_dir)))}


def write_variables(version_dir: Path, old: Path, changes: Mapping[str, Any]) -> None:
    """Writes the variables of one version to another, some of them with other values.

    Args:
        version_dir: Where to write; its folder `variables` must not be there.
        old: The version to take all others from, bit by bit.
        changes: By path; each must be a variable of the old version.
    """
    reader = tf.train.load_checkpoint(str(_prefix(old)))
    dtypes = reader.get_variable_to_dtype_map()
    values = {name.removesuffix(_VALUE): name for name in dtypes}
    if unknown := sorted(set(changes) - set(values)):
        raise ExportError(f"{old} has no variable {', '.join(unknown)}, so its graph would not read them.")
    _prefix(version_dir).parent.mkdir(parents=True)
    tf.raw_ops.SaveV2(
        prefix=str(_prefix(version_dir)),
        tensor_names=list(values.values()),
        shape_and_slices=[""] * len(values),
        tensors=[
            tf.constant(changes[path] if path in changes else reader.get_tensor(name), dtypes[name])
            for path, name in values.items()
        ],
    )


def _prefix(version_dir: Path) -> Path:
    return version_dir / "variables" / "variables"
