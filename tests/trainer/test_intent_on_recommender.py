"""Labels of texts told by a recommender's own text tower, and exported beside `recommend`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from serving.client import ClientSettings, RecommenderClient
from serving.server import EmbeddedServer
from tests.trainer.conftest import TINY
from tests.trainer.intent.conftest import sentences
from tests.trainer.intent.test_intent_export import classify
from trainer import cli
from trainer.config import ProjectConfig, load_config
from trainer.errors import ExportError, RunError
from trainer.export import export
from trainer.intent import beside
from trainer.intent.on_recommender import IntentHead
from trainer.run import RunDirectory

INTENT = """
[intent]
tower = "recommender"
train = "{work}/train.csv"
test = "{work}/test.csv"
epochs = 150
batch_size = 16
head_learning_rate = 0.1
"""


@pytest.fixture(scope="module")
def file(trained: ProjectConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of a finished recommender, which has labelled texts as well."""
    work = tmp_path_factory.mktemp("joint")
    for name in ("leave_last_out", "encoder"):
        shutil.copytree(trained.work_dir / name, work / name)
    (work / "train.csv").write_text(sentences(20), "utf-8")
    (work / "test.csv").write_text(sentences(4), "utf-8")
    file = work / "joint.toml"
    file.write_text((TINY + INTENT).format(work=work))
    return file


def run(*arguments: str | Path) -> str:
    command, *rest = arguments
    result = CliRunner().invoke(getattr(cli, str(command)), [*map(str, rest), "--task", "intent"])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_train_evaluate_and_export_from_one_file(file: Path) -> None:
    with pytest.raises(AssertionError, match=r"There is no .*intent.npz. Run `twotower train --task intent`"):
        run("evaluate", file)
    assert "60 texts, 3 labels. Validation accuracy 1.0000, then learned from all" in run("train", file)
    assert "is up to date" in run("train", file)
    assert "12 texts, 3 classes, accuracy 1.0000" in run("evaluate", file)
    report = json.loads((file.parent / "leave_last_out" / "intent_evaluation.json").read_text())
    assert report["macro_f1"] == 1.0

    config = load_config(file)
    version = export(config, "leave_last_out", Console(quiet=True))
    assert version is not None
    facts = json.loads((version / "assets.extra" / "serving.json").read_text())
    assert facts["classes"] == ["cry", "laugh", "shiver"]
    assert {"classify_intent", "predict_intent", "recommend"} <= set(facts["signatures"])
    with (
        EmbeddedServer(model_name="moods", model_base_path=str(version.parent), port=0) as server,
        RecommenderClient(server.address, "moods", ClientSettings(deadline=120.0)) as client,
    ):
        answer = client.predict({"query": ["a sad film", "a dark film i3"]}, signature="predict_intent")
        assert [row[0] for row in answer["label"]] == ["cry", "shiver"]
        np.testing.assert_allclose(np.asarray(answer["score"]).sum(axis=1), 1.0, rtol=1e-5)
        (classified,) = classify(server.address, ["a funny film"])
        assert classified.classes[0].label == "laugh"
        assert len(client.recommend(["i0", "i2"], query="a sad film")) == 10

    refused = CliRunner().invoke(cli.export, [str(file), "--task", "intent"])
    assert refused.exit_code == 2
    assert "leave --task out" in refused.output


@pytest.mark.slow
def test_other_answers_than_the_live_model_are_not_published(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train", file)
    head = IntentHead.load(RunDirectory(load_config(file).run_dir("leave_last_out")))
    assert head is not None
    wrong = IntentHead(-head.kernel, head.bias, head.classes, head.facts)
    save = beside.save_with_intents
    monkeypatch.setattr(
        "trainer.export.save_with_intents",
        lambda served, signatures, _, bench, folder: save(served, signatures, wrong, bench, folder),
    )
    with pytest.raises(ExportError, match="predict_intent calls"):
        export(load_config(file), "leave_last_out", Console(quiet=True), overwrite=True)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    run_directory = RunDirectory(tmp_path)
    assert IntentHead.load(run_directory) is None
    run_directory.intent_file.write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"Cannot read .*intent.npz"):
        IntentHead.load(run_directory)
