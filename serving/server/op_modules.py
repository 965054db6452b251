"""Operations beside TensorFlow's and TF.Text's, which a server has only if a Python module brings them."""

from __future__ import annotations

import importlib

from tensorflow.errors import OpError

from serving.server.models import StartError


def register_ops(modules: str) -> None:
    """Imports Python modules that register operations.

    Args:
        modules: Comma-separated names, such as "scann.scann_ops.py.scann_ops".

    Raises:
        StartError: A module is not installed, or its operations were compiled for another TensorFlow.
    """
    for name in filter(None, (part.strip() for part in modules.split(","))):
        try:
            importlib.import_module(name)
        except (ImportError, OSError, OpError) as error:
            raise StartError(
                f"--op_modules: {name} cannot be imported: {error}. Install the package that has it, in the release "
                "that was compiled for this TensorFlow."
            ) from error
