"""A process that answers for a saved model: by the routes that are asked for, with its reason where it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import ExportError
from trainer.fresh_process import FreshProcess
from trainer.keras_compat import tf
from trainer.requests_file import write_requests


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    file = tmp_path / "requests"
    write_requests(file, [("double", {"x": np.asarray([1.5, 2.0], np.float32)})])
    return file


def test_it_answers_by_the_routes_that_are_asked_for(requests: Path, tmp_path: Path) -> None:
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], name="x")])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"double": module.double})
    with FreshProcess() as process:
        answers = process.ask(tmp_path / "1", requests, tmp_path, routes=("server",), optimize=False)
    assert {name: values.tolist() for name, values in answers.items()} == {"server/0/y": [3.0, 4.0]}


def test_what_it_says_when_it_fails_is_told(requests: Path, tmp_path: Path) -> None:
    with (
        FreshProcess() as process,
        pytest.raises(ExportError, match=r"could not use it:\n(.|\n)*nothing-here"),
    ):
        process.ask(tmp_path / "nothing-here", requests, tmp_path)


def test_nobody_is_left_behind_when_there_was_nothing_to_ask() -> None:
    with FreshProcess() as process:
        number = process._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
