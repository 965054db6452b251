"""A process that knows nothing of ours and answers for a saved model; see `trainer.stranger`.

Importing TensorFlow takes it seconds. Whoever knows early that there will be something to check starts it early.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from trainer import stranger
from trainer.errors import ExportError
from trainer.indexes.scann import op_modules
from trainer.probes import Arrays

_SHOWN = 2000  # characters of what a process that failed has said


class FreshProcess:
    """Starts at once, imports TensorFlow, and waits to be asked. A context manager, which ends it."""

    def __init__(self) -> None:
        # A file, because nobody reads while it works, and a full pipe would stop it.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-I", stranger.__file__, stranger.WAIT],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            text=True,
        )

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def ask(
        self,
        folder: Path,
        requests: Path,
        scratch: Path,
        routes: Sequence[str] = stranger.ROUTES,
        *,
        optimize: bool = True,
    ) -> Arrays:
        """Answers of a saved model; can be asked once.

        Args:
            folder: The saved model.
            requests: A file of requests, as warm-up files are.
            scratch: A folder for the answers.
            routes: The ways to load the model.
            optimize: See `trainer.stranger.main`.

        Returns:
            By `route/number of the request/output`.

        Raises:
            ExportError: the process failed.
        """
        answers = scratch / "answers.npz"
        arguments = [str(folder), str(requests), str(answers), *op_modules(folder)]
        options = {"routes": list(routes), "optimize": optimize}
        self._process.communicate(json.dumps({"arguments": arguments, "options": options}))
        if self._process.returncode != 0:
            self._said.seek(0)
            raise ExportError(
                "The model was not published; a fresh process could not use it:\n"
                f"{self._said.read()[-_SHOWN:]}"
            )
        with np.load(answers, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
