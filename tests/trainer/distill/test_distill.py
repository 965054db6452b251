"""`twotower distill` on a finished run: what it leaves, that it goes on, that training takes the student."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.trainer.conftest import TINY
from trainer.callbacks import Checkpoints
from trainer.config import ProjectConfig, load_config
from trainer.dataset import DatasetDirectory
from trainer.distill.cli import distill as command
from trainer.distill.distill import distill
from trainer.distill.ranking import RankingTeacher
from trainer.errors import ConfigError, RunError
from trainer.keras_compat import tf
from trainer.live import LiveModel
from trainer.run import RunDirectory
from trainer.text_encoder import load_text_encoder
from trainer.training import load_best, train
from trainer.workbench import Workbench

pytestmark = pytest.mark.slow

SPLIT = "leave_last_out"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def bench(project: ProjectConfig) -> Workbench:
    dataset = DatasetDirectory.open(project.dataset_dir(SPLIT))
    opened = Workbench.open(project, dataset, QUIET)
    load_best(opened.model, project.train, RunDirectory(project.run_dir(SPLIT)))
    return opened


@pytest.fixture(scope="module")
def student(project: ProjectConfig) -> Path:
    """Interrupted after its first epoch, then taken up again."""
    patch = pytest.MonkeyPatch()

    def interrupted(self, epoch, logs):
        original(self, epoch, logs)
        if epoch == 0:
            raise KeyboardInterrupt

    original = Checkpoints.on_epoch_end
    patch.setattr(Checkpoints, "on_epoch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill(project, SPLIT, QUIET)
    patch.undo()
    return distill(project, SPLIT, QUIET)


def test_the_folder_is_a_text_encoder_and_the_report_says_what_it_is_worth(student, project):
    encoder = load_text_encoder(str(student), max_tokens=64, max_characters=2048)  # as the trainer does
    assert len(encoder.backbone.transformer_layers) == 2
    report = json.loads((student.parent / "distillation.json").read_text())
    assert report["student"]["layers"] == 2
    assert report["teacher"]["layers"] == 3
    assert report["student"]["mib"] < report["teacher"]["mib"]
    assert -1 <= report["cosine_to_teacher"]["min"] <= report["cosine_to_teacher"]["mean"] <= 1
    for tower in ("teacher", "student"):
        assert 0 <= report[tower]["ndcg@10_history"] <= 1
        assert 0 <= report[tower]["ndcg@10_with_text"] <= 1
        assert report[tower]["batch_1_ms"] > 0
    manifest = json.loads((student.parent / "run.json").read_text())
    assert manifest["finished"]
    assert manifest["epochs"] == 3
    assert manifest["student_digest"] == encoder.digest()


def test_what_is_up_to_date_is_not_done_again(student, project):
    before = (student / "model.safetensors").stat().st_mtime_ns
    assert distill(project, SPLIT, QUIET) == student
    assert (student / "model.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_run_ends_as_one_that_was_not(student, project):
    interrupted = (student / "model.safetensors").read_bytes()
    distill(project, SPLIT, QUIET, overwrite=True)
    assert (student / "model.safetensors").read_bytes() == interrupted


def test_training_takes_the_student(student, project, tmp_path):
    file = tmp_path / "student.toml"
    settings = TINY.format(work=project.work_dir).replace("epochs = 20", "epochs = 1")
    file.write_text(f'{settings}\n[train.text]\nencoder = "{student}"\n')
    run = train(load_config(file), SPLIT, QUIET, run=RunDirectory(tmp_path / "run"))
    assert (
        run.finished()["encoder_digest"]
        == json.loads((student.parent / "run.json").read_text())["student_digest"]
    )


def test_the_ranking_teacher_says_what_the_model_says_to_a_stranger_with_a_wish(bench, project):
    """The same list and scores as a user of whom nothing is known gets for the text, computed by the live model."""
    text = "a dark film"
    vectors = bench.encoder.encode_all([text], 1)
    lists = RankingTeacher(bench.model, bench.preparation, 5).lists(vectors)
    assert lists.rows.shape == lists.scores.shape == (1, 5)
    live = LiveModel(bench, 5, 6)
    row = {
        "history_item_id": np.asarray([], object),
        "query": text.encode(),
        "gender": b"",
        "age": np.float32(np.nan),
        "item_id": np.asarray(
            [bench.preparation.catalogue.item_ids[item].encode() for item in lists.rows[0]], object
        ),
    }
    np.testing.assert_allclose(live.rank(row)["score"], lists.scores[0], atol=1e-4)
    query = live.embed_query({name: value for name, value in row.items() if name != "item_id"})["embedding"]
    retrieval = live._vectors @ query
    assert set(lists.rows[0]) == set(np.argsort(-retrieval)[:5])


def test_retrieval_scores_are_those_of_the_lists_items(bench):
    teacher = RankingTeacher(bench.model, bench.preparation, 4)
    vectors = tf.constant(bench.encoder.encode_all(["film", "a sad film"], 2))
    rows = np.asarray([[0, 1, 2, 3], [3, 2, 1, 0]], np.int32)
    scores = teacher.retrieval_scores(vectors, rows).numpy()
    for place in range(2):
        alone = teacher.retrieval_scores(vectors[place : place + 1], rows[place : place + 1]).numpy()
        np.testing.assert_allclose(scores[place], alone[0], atol=1e-5)


def test_without_a_finished_run_there_is_no_teacher(project, tmp_path):
    with pytest.raises(RunError, match="twotower train"):
        distill(project.model_copy(update={"work_dir": tmp_path}), SPLIT, QUIET)


def test_more_layers_than_the_teacher_has_are_refused_and_nothing_is_removed(student, project):
    said = CliRunner().invoke(command, [str(project.work_dir / "tiny.toml"), "--layers", "3"])
    assert said.exit_code == 1
    assert "distill.layers = 3" in said.output
    assert "Traceback" not in said.output
    assert (student / "model.safetensors").exists()


def test_a_model_without_query_text_has_no_ranking_teacher(bench):
    class Deaf:
        class query_tower:  # noqa: N801
            text_width = 0

    with pytest.raises(ConfigError, match="ranking_weight"):
        RankingTeacher(Deaf(), bench.preparation, 5)  # type: ignore[arg-type]
