"""Files for TensorBoard's projector, read as it reads them."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from trainer import projector
from trainer.projector import write_projector

VECTORS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
COLUMNS = {"item_id": [f"i{n}" for n in range(6)], "title": ["a\tb", "c\nd", *"efgh"], "events": range(6)}


def read(logs):
    config = text_format.Parse((logs / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    vectors = np.loadtxt(logs / embedding.tensor_path, delimiter="\t", ndmin=2)
    with (logs / embedding.metadata_path).open(newline="") as file:
        return vectors, list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_vectors_and_titles_stand_line_by_line(tmp_path):
    write_projector(tmp_path, VECTORS, COLUMNS)
    vectors, rows = read(tmp_path)
    np.testing.assert_allclose(vectors, VECTORS, rtol=1e-5)
    assert rows[:3] == [["item_id", "title", "events"], ["i0", "a b", "0"], ["i1", "c d", "1"]]
    assert len(rows) == 7


def test_only_the_most_popular_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "MOST", 2)
    write_projector(tmp_path, VECTORS, COLUMNS)
    vectors, rows = read(tmp_path)
    assert len(vectors) == 2
    assert [row[0] for row in rows] == ["item_id", "i0", "i1"]


def test_an_older_run_is_replaced(tmp_path):
    write_projector(tmp_path, VECTORS, COLUMNS)
    write_projector(tmp_path, VECTORS[:4], COLUMNS)
    assert len(read(tmp_path)[0]) == 4


def test_tensorboard_itself_starts_with_the_versions_that_are_installed():
    command = [sys.executable, "-m", "tensorboard.main", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("2.")
