from __future__ import annotations

import json

import pytest
import tensorflow as tf
from click.testing import CliRunner

from trainer.lint.cli import lint_model
from trainer.lint.file_checks import WARMUP_FILE

BATCH = tf.TensorSpec([None], tf.float32, name="x")


def run(*arguments: object):
    return CliRunner().invoke(lint_model, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_a_clean_model_passes(save):
    result = run(save(serving_default=(lambda x: x, BATCH)))
    assert result.exit_code == 0
    assert "0 errors, 0 warnings, 0 notes" in result.output


def test_errors_fail_and_are_shown(save):
    result = run(save(serving_default=(tf.reduce_sum, BATCH)))
    assert result.exit_code == 1
    assert "serving_default: output y" in result.output
    assert "1 error," in result.output


def test_warnings_fail_only_when_strict(save):
    folder = save(serving_default=(lambda x: x, BATCH))
    (folder / WARMUP_FILE).unlink()
    assert run(folder).exit_code == 0
    assert run(folder, "--strict").exit_code == 1


def test_the_newest_version_of_a_model_is_checked(save):
    folder = save(serving_default=(tf.reduce_sum, BATCH))
    (folder.parent / "2").mkdir()
    result = run(folder.parent, "--json")
    assert [finding["where"] for finding in json.loads(result.output)] == ["serving_default: output y"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "holds neither saved_model.pb nor a version"),
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"no"), "is not a SavedModel"),
    ],
)
def test_other_folders_are_refused_without_a_traceback(tmp_path, prepare, message):
    prepare(tmp_path)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_unknown_releases_are_refused(tmp_path):
    result = run(tmp_path, "--serving", "1.15")
    assert result.exit_code == 2
    assert "'2.20'" in result.output
