"""`twotower evaluate` and the trainer's commands, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tests.trainer.conftest import TINY
from trainer import cli
from trainer.config import ProjectConfig
from trainer.errors import RunError
from trainer.evaluating import evaluate_run
from trainer.refresh.cli import index
from trainer.run import RunDirectory

SPLIT = "leave_last_out"


@pytest.fixture(scope="module")
def evaluated(trained: ProjectConfig) -> ProjectConfig:
    evaluate_run(trained, SPLIT, Console(quiet=True))
    return trained


def test_the_model_stands_beside_tuned_baselines_on_the_same_queries(evaluated: ProjectConfig) -> None:
    report = json.loads(evaluated.evaluation_file(SPLIT).read_text())
    assert [row["name"] for row in report["models"]] == [
        "two-tower, ranked",
        "two-tower, retrieval",
        "popularity",
        "item-kNN",
    ]
    assert report["queries"]["count"] == 48
    figures = {row["name"]: row["metrics"]["ndcg@10"]["value"] for row in report["models"]}
    assert figures["two-tower, retrieval"] > 2 * figures["popularity"]
    for metric in ("recall", "ndcg", "mrr"):
        assert {f"{metric}@10", f"{metric}@50"} <= set(report["models"][0]["metrics"])


def test_a_second_evaluation_measures_nothing(evaluated: ProjectConfig) -> None:
    before = evaluated.evaluation_file(SPLIT).stat().st_mtime_ns
    evaluated.report_file(SPLIT).unlink()
    evaluate_run(evaluated, SPLIT, Console(quiet=True))
    assert evaluated.evaluation_file(SPLIT).stat().st_mtime_ns == before
    assert evaluated.report_file(SPLIT).exists()  # drawn again from the figures


def test_the_page_shows_the_run_and_the_catalogue(evaluated: ProjectConfig) -> None:
    page = evaluated.report_file(SPLIT).read_text()
    history = json.loads(RunDirectory(evaluated.run_dir(SPLIT)).history_file.read_text())
    extras = json.loads(evaluated.evaluation_file(SPLIT).read_text())["extras"]
    assert extras["training_curves"]["val_ndcg@10"] == [row["val_ndcg@10"] for row in history]
    assert "item_effective_rank" in extras["training_curves"]
    assert len(extras["embedding_map"]["points"]) == 25
    assert set(extras["embedding_map"]["groups"]) == {"Comedy", "Drama", "Horror"}
    for heading in ("Training", "Item vectors", "Lists that hit", "Every slice"):
        assert f"<h2>{heading}</h2>" in page
    assert "<li class=hit>Title i" in page


def test_the_model_card_has_the_figures_of_the_test(evaluated: ProjectConfig) -> None:
    card = RunDirectory(evaluated.run_dir(SPLIT)).card_file.read_text()
    report = json.loads(evaluated.evaluation_file(SPLIT).read_text())
    for row in report["models"]:
        cell = row["metrics"]["ndcg@10"]
        assert f"{cell['value']:.4f} [{cell['low']:.4f}, {cell['high']:.4f}]" in card
    assert "Not measured yet" not in card
    assert "| model.embedding_dim | 16 |" in card


def test_a_model_is_compared_with_an_evaluation_of_before(evaluated: ProjectConfig, tmp_path: Path) -> None:
    for name in ("evaluation.json", "evaluation_ranks.npz"):
        shutil.copy(evaluated.work_dir / SPLIT / name, tmp_path / name)
    report = evaluate_run(evaluated, SPLIT, Console(quiet=True), against=tmp_path)
    rows = report["against"]["comparisons"]
    assert [row["first"] for row in rows] == ["two-tower, ranked"] * 2 + ["two-tower, retrieval"] * 2
    assert {(row["difference"], row["p_value"]) for row in rows} == {(0.0, 1.0)}  # the same model
    assert "Against another model" in evaluated.report_file(SPLIT).read_text()
    with pytest.raises(RunError, match="no evaluation to compare with"):
        evaluate_run(evaluated, SPLIT, Console(quiet=True), against=tmp_path / "nothing")


def test_all_baselines_by_name(trained: ProjectConfig, tmp_path: Path) -> None:
    changes = {"baselines": ("ease", "item-text"), "both_protocols": True}
    settings = trained.evaluate.model_copy(update=changes)
    report = evaluate_run(
        trained.model_copy(update={"evaluate": settings}), SPLIT, Console(quiet=True), overwrite=True
    )
    assert len(report["models"]) == 4
    for row in report[
        "models"
    ]:  # nobody watches a film twice here: a history in the ranking can only be in the way
        assert row["other_protocol"]["ndcg@10"]["value"] <= row["metrics"]["ndcg@10"]["value"]
    retrieval = report["models"][1]
    assert retrieval["other_protocol"]["ndcg@10"] != retrieval["metrics"]["ndcg@10"]


def test_evaluating_needs_a_run(config: ProjectConfig, tmp_path: Path) -> None:
    (tmp_path / SPLIT).mkdir()
    (tmp_path / SPLIT / "dataset").symlink_to(config.dataset_dir(SPLIT))
    with pytest.raises(RunError, match="Run `twotower train` first"):
        evaluate_run(config.model_copy(update={"work_dir": tmp_path}), SPLIT, Console(quiet=True))


def run(command: object, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))  # type: ignore[arg-type]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "c.toml"
    file.write_text(TINY.format(work=tmp_path))
    return file


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    result = run(cli.train, str(tmp_path / "none.toml"))
    assert result.exit_code == 1
    assert result.output.startswith("Error: Cannot read the configuration")
    assert "Traceback" not in result.output


def test_an_unknown_key_is_named_with_the_nearest(config_file: Path) -> None:
    config_file.write_text(config_file.read_text().replace("batch_size", "batchsize"))
    result = run(cli.train, str(config_file))
    assert result.exit_code == 1
    assert "unknown key 'train.batchsize'; did you mean 'batch_size'?" in result.output


def test_a_missing_dataset_says_what_to_run(config_file: Path) -> None:
    for command in (cli.train, cli.evaluate, cli.export):
        result = run(command, str(config_file))
        assert result.exit_code == 1
        assert "Run `twotower features build` first" in result.output.replace("\n", " ")


def test_an_incomplete_dataset_is_refused(config_file: Path, tmp_path: Path) -> None:
    (tmp_path / SPLIT / "dataset").mkdir(parents=True)
    result = run(cli.train, str(config_file))
    assert result.exit_code == 1
    assert "is not a complete dataset directory" in result.output


def test_a_split_that_is_not_configured(config_file: Path) -> None:
    result = run(cli.train, str(config_file), "--split", "by_time")
    assert result.exit_code == 1
    assert "--split by_time: the configuration lists features.splits = leave_last_out" in result.output


def test_a_missing_encoder_says_what_to_run(config: ProjectConfig, config_file: Path, tmp_path: Path) -> None:
    (tmp_path / SPLIT).mkdir()
    (tmp_path / SPLIT / "dataset").symlink_to(config.dataset_dir(SPLIT))
    result = run(cli.train, str(config_file))
    assert result.exit_code == 1
    assert "There is no text encoder folder" in result.output
    assert "twotower fetch" in result.output


def test_items_to_add_must_be_a_file(tmp_path: Path) -> None:
    result = run(index, "add", "--model", str(tmp_path), "--items", str(tmp_path / "none.jsonl"))
    assert result.exit_code == 2
    assert "none.jsonl' does not exist" in " ".join(result.output.split())
