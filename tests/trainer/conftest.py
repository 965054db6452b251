"""One small dataset, one small BERT and one trained and exported model for all tests of the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="the trainer needs twotower[train]")

from rich.console import Console

from tests.trainer.dataset_writer import WORDS, checkerboard
from trainer.config import ProjectConfig, load_config
from trainer.text_encoder import TextEncoder, build_text_encoder

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "film",
    "title",
    "new",
    "i",
    "##0",
    "##1",
    "##2",
    *WORDS,
]

TINY = """
name = "tiny"
work_dir = "{work}"

[features]
splits = ["leave_last_out"]

[train]
epochs = 20
batch_size = 8
learning_rate = 0.01
warmup_steps = 5

[train.model]
embedding_dim = 16

[train.model.history]
max_length = 6
blocks = 1

[train.query_text]
rate = 0.5

[train.ranking]
candidates = 8
negatives = 4
queries_per_step = 32
hidden_units = 8

[export]
directory = "{work}/saved_models"
k = 10
warmup_batch_sizes = [1, 2]
"""


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("TWOTOWER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    return build_text_encoder(VOCABULARY, width=8, layers=1, heads=2, max_tokens=16)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, encoder: TextEncoder) -> Path:
    """A work directory with a dataset and an encoder, before training."""
    folder = tmp_path_factory.mktemp("work")
    write_work(folder, encoder)
    return folder


def write_work(folder: Path, encoder: TextEncoder) -> None:
    """What a training needs besides its configuration, in an empty folder."""
    checkerboard().write(folder / "leave_last_out" / "dataset")
    encoder.backbone.save_to_preset(str(folder / "encoder"))
    encoder.tokenizer.save_to_preset(str(folder / "encoder"))


@pytest.fixture(scope="session")
def config(work: Path) -> ProjectConfig:
    file = work / "tiny.toml"
    file.write_text(TINY.format(work=work))
    return load_config(file)


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="session")
def trained(config: ProjectConfig) -> ProjectConfig:
    """The configuration, after `twotower train`."""
    from trainer.training import train

    train(config, "leave_last_out", Console(quiet=True))
    return config


@pytest.fixture(scope="session")
def exported(trained: ProjectConfig) -> Path:
    """A version directory of the trained model."""
    from trainer.export import export

    return export(trained, "leave_last_out", Console(quiet=True))
