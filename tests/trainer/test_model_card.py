"""What a model card says, and what it says only once it is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.evaluation.report import Measured, build_report
from trainer.model_card import model_card, write_model_card
from trainer.run import RunDirectory
from trainer.train_config import TrainConfig

CONFIG = ProjectConfig.model_validate(
    {"name": "films", "work_dir": "runs", "features": {"splits": ["by_time"]}}
)
DATASET = DatasetDirectory(
    path=Path("films"),
    items=(),
    sequences=(),
    manifest={
        "name": "films",
        "protocol": "by_time",
        "config_digest": "c0ffee",
        "items": {"count": 1682},
        "splits": {
            "train": {"users": 943, "events": 79_999, "targets": 79_999, "min_timestamp": 874_724_710},
            "test": {"users": 300, "events": 20_000, "targets": None, "max_timestamp": 893_286_638},
        },
    },
)
COUNTS = np.array([5, 4, 3, 2, 0])


def manifest(settings: TrainConfig) -> dict:
    return {
        "settings": settings.model_dump(mode="json"),
        "epochs": 14,
        "best_epoch": 9,
        "seconds": 1234.5,
        "encoder_digest": "abc",
        "validation": {"epoch": 8, "val_ndcg@10": 0.10264, "item_effective_rank": 31.2},
    }


@pytest.fixture(scope="module")
def report():
    items = np.random.default_rng(0).integers(0, 5, 120)
    queries = EvaluationQueries.from_sequences(items, np.arange(0, 121, 4), np.arange(30) % 2 * 2)
    scores = np.random.default_rng(1).random((len(queries), 5)).astype(np.float32)
    out, kept = (evaluate(queries, lambda a, b: scores[a:b], (2,), exclude_history=e) for e in (True, False))
    return build_report(queries, [Measured("two-tower, ranked", out, "model", other_protocol=kept)], COUNTS)


def test_before_the_evaluation_it_has_data_training_settings_and_versions():
    settings = TrainConfig.model_validate({"seed": 7, "model": {"embedding_dim": 32}})
    card = model_card(CONFIG, DATASET, manifest(settings), None)
    assert card.startswith("# Model card: films, by_time\n")
    assert "| train | 943 | 79,999 | 79,999 | 1997-09-20 |  |" in card
    assert "| test | 300 | 20,000 | ? |  | 1998-04-22 |" in card
    assert "the best by validation NDCG@10 is epoch 9" in card
    assert "| val_ndcg@10 | 0.1026 |" in card
    assert "| epoch |" not in card
    changed = card.partition("## Settings")[2].partition("## Versions")[0]
    assert [line for line in changed.splitlines() if line.startswith("| ") and "field" not in line] == [
        "| seed | 7 |",
        "| model.embedding_dim | 32 |",
    ]
    assert "Seed 7;" in card
    assert "keras " in card
    assert "Not measured yet: `twotower evaluate` fills this part in." in card


def test_default_settings_are_called_so():
    assert "The defaults of this version." in model_card(CONFIG, DATASET, manifest(TrainConfig()), None)


def test_the_evaluation_adds_figures_with_intervals_of_both_protocols_and_limits(report):
    card = model_card(CONFIG, DATASET, manifest(TrainConfig()), report)
    assert "Not measured yet" not in card
    model = report["models"][0]
    for block in ("metrics", "other_protocol"):
        cell = model[block]["recall@2"]
        assert f"{cell['value']:.4f} [{cell['low']:.4f}, {cell['high']:.4f}]" in card
    assert "Items of the history left out of the ranking:" in card
    assert "Items of the history kept in the ranking:" in card
    limits = card.partition("## Limits")[2].partition("## Settings")[0]
    for name in ("item: tail", "item: cold", "user: cold"):
        cell = model["slices"][name]
        assert f"- {name}: NDCG@2 {cell['ndcg@2']['value']:.4f}" in limits
        assert f"on {cell['queries']:,} queries" in limits
    assert f"show {model['metrics']['coverage@2']['value']:.1%} of the catalogue" in limits


def test_tables_have_as_many_cells_as_columns(report):
    card = model_card(CONFIG, DATASET, manifest(TrainConfig()), report)
    tables = [block.splitlines() for block in card.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table


def test_it_replaces_an_older_card_at_once(tmp_path):
    run = RunDirectory(tmp_path / "model")
    for epochs in (3, 4):
        write_model_card(run, CONFIG, DATASET, {**manifest(TrainConfig()), "epochs": epochs})
    assert "\n4 epochs in 1,234 seconds" in run.card_file.read_text()
    assert [file.name for file in run.path.iterdir()] == ["model_card.md"]


def test_the_same_model_gives_the_same_card(report):
    cards = {
        model_card(CONFIG, DATASET, manifest(TrainConfig()), json.loads(json.dumps(report))) for _ in "ab"
    }
    assert len(cards) == 1
