from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tests.trainer.conftest import TINY, VOCABULARY
from tests.trainer.dataset_writer import checkerboard
from trainer.config import ProjectConfig, load_config
from trainer.text_encoder import TextEncoder, build_text_encoder
from trainer.training import train


@pytest.fixture(scope="session")
def teacher() -> TextEncoder:
    """Three layers."""
    return build_text_encoder(VOCABULARY, width=8, layers=3, heads=2, max_tokens=16)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, teacher: TextEncoder) -> ProjectConfig:
    """A finished run of one epoch over a text tower of three layers."""
    folder: Path = tmp_path_factory.mktemp("distill")
    checkerboard().write(folder / "leave_last_out" / "dataset")
    teacher.backbone.save_to_preset(str(folder / "encoder"))
    teacher.tokenizer.save_to_preset(str(folder / "encoder"))
    settings = TINY.format(work=folder).replace("epochs = 20", "epochs = 1")
    file = folder / "tiny.toml"
    file.write_text(
        settings + "\n[distill]\nlayers = 2\nepochs = 3\nbatch_size = 16\nlearning_rate = 0.003\n"
        "ranking_weight = 0.1\nranking_list = 5\n",
        encoding="utf-8",
    )
    config = load_config(file)
    train(config, "leave_last_out", Console(quiet=True))
    return config
