"""`twotower features embed-texts` fills the cache; the training then encodes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

pytest.importorskip("apache_beam", reason="needs twotower[beam]")

from beam_pipelines import embedding_texts
from beam_pipelines.cli import features
from beam_pipelines.embedding_texts import embed_missing
from beam_pipelines.errors import PipelineError
from trainer.dataset import DatasetDirectory
from trainer.text_encoder import TextEncoder
from trainer.text_vectors import TextVectors
from trainer.workbench import Workbench

SPLIT = "leave_last_out"


class Entry:
    @staticmethod
    def load():
        return TextVectors


EVENTS = """
[features.events]
files = ["events.csv"]
user_id = "user"
item_id = "item"
timestamp = "time"
"""


def whole(work, other, folder):
    """The configuration as a file that the pipelines read as well, with another work_dir."""
    file = folder / "whole.toml"
    file.write_text((work / "tiny.toml").read_text().replace(str(work), str(other)) + EVENTS)
    return file


@pytest.fixture
def installed(monkeypatch):
    """The entry point of pyproject.toml, whether or not this checkout was installed since it is there."""
    monkeypatch.setattr(embedding_texts.importlib.metadata, "entry_points", lambda **wanted: [Entry])


def test_a_training_finds_all_vectors(config, work, installed, tmp_path, monkeypatch):
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path))
    monkeypatch.setattr(embedding_texts, "_TEXTS", 7)  # several elements
    vectors = TextVectors(str(work / "tiny.toml"), SPLIT)
    missing = vectors.missing()
    assert len(missing) > 25  # the texts of 25 items, and their views
    assert embed_missing(str(work / "tiny.toml"), SPLIT) == len(missing)
    assert vectors.missing() == []
    assert len(list(tmp_path.rglob("segment-*"))) == -(-len(missing) // 7)

    def none(self, texts, batch_size, progress=None):
        raise AssertionError(f"encoded {texts}")

    monkeypatch.setattr(TextEncoder, "encode_all", none)
    Workbench.open(config, DatasetDirectory.open(config.dataset_dir(SPLIT)), Console(quiet=True))
    answer = CliRunner().invoke(features, ["embed-texts", str(whole(work, work, tmp_path)), "--split", SPLIT])
    assert answer.exit_code == 0, answer.output
    assert "0 texts embedded" in answer.output


def test_without_the_trainer_it_says_what_to_install(work, monkeypatch):
    monkeypatch.setattr(embedding_texts.importlib.metadata, "entry_points", lambda **wanted: [])
    with pytest.raises(PipelineError, match=r"twotower\[beam,train\]"):
        embed_missing(str(work / "tiny.toml"), SPLIT)


def test_what_the_trainer_refuses_is_no_traceback(config, work, installed, tmp_path):
    file = whole(work, tmp_path / "nothing", tmp_path)
    answer = CliRunner().invoke(features, ["embed-texts", str(file), "--split", SPLIT])
    assert answer.exit_code == 1
    assert answer.output.startswith("Error: ")
    assert "dataset" in answer.output


def test_vectors_of_texts_are_kept_and_those_of_phrases_are_not(work, tmp_path, monkeypatch):
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path))
    vectors = TextVectors(str(work / "tiny.toml"), SPLIT)
    phrase = vectors.of_phrases(["dark film"])
    assert not list(tmp_path.rglob("segment-*"))
    text = vectors.of_texts(["dark film"])
    assert len(list(tmp_path.rglob("segment-*"))) == 1
    assert phrase.shape == (1, 8)  # as wide as the encoder
    np.testing.assert_allclose(phrase, text, atol=1e-6)
