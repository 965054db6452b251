"""The blend of a trained run: chosen at its end, loaded with its weights, exported with its model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the trainer needs twotower[train]")

from rich.console import Console

from trainer.config import ProjectConfig
from trainer.contract import SCORE
from trainer.dataset import DatasetDirectory
from trainer.errors import RunError
from trainer.evaluation.ranking import evaluate
from trainer.export import export
from trainer.keras_compat import tf
from trainer.live import LiveModel
from trainer.neighbours.blend import write_blend
from trainer.neighbours.table import NeighbourTable
from trainer.neighbours.weighing import weigh_opinions
from trainer.neighbours.weights import Blend
from trainer.probes import Arrays, Probes
from trainer.run import RunDirectory
from trainer.scoring import ModelScorer
from trainer.sequences import load_sequences, queries_of
from trainer.signatures import signature_inputs
from trainer.training import load_best
from trainer.workbench import Workbench

SPLIT = "leave_last_out"
QUIET = Console(quiet=True)


def loaded(config: ProjectConfig) -> Workbench:
    bench = Workbench.open(config, DatasetDirectory.open(config.dataset_dir(SPLIT)), QUIET)
    load_best(bench.model, config.train, RunDirectory(config.run_dir(SPLIT)))
    return bench


@pytest.fixture(scope="module")
def blended(trained: ProjectConfig, tmp_path_factory) -> ProjectConfig:
    """The trained run elsewhere, with neighbours that count."""
    work = tmp_path_factory.mktemp("blended")
    shutil.copytree(trained.work_dir / SPLIT, work / SPLIT)
    shutil.copytree(trained.encoder(), work / "encoder")
    export = trained.export.model_copy(update={"directory": work / "saved_models"})
    config = trained.model_copy(update={"work_dir": work, "export": export})
    run, bench = RunDirectory(config.run_dir(SPLIT)), loaded(config)
    train, catalogue = bench.train, bench.preparation.catalogue
    NeighbourTable.learned(train.items, train.row_splits, catalogue.trained, 5).save(run.neighbours_file)
    write_blend(run, Blend(0.5, 7.0, 2.0), {})
    return config


def test_what_was_chosen_is_what_evaluation_finds(trained):
    run, bench = RunDirectory(trained.run_dir(SPLIT)), loaded(trained)
    chosen = json.loads(run.blend_file.read_text())
    figures = chosen["validation_ndcg@10"]
    assert figures["blend"] >= max(figures["retrieval"], figures["correction"])
    assert bench.model.blend == Blend(chosen["correction"], chosen["neighbours"], chosen["half_life"])
    sequences = load_sequences(bench.dataset, "validation", bench.preparation.catalogue)
    queries = queries_of(sequences)
    scorer = ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=True)
    candidates = min(bench.model.config.ranking.candidates, len(bench.preparation.catalogue))
    assert candidates < 10  # so that what was not retrieved may still be among the best ten
    found = evaluate(queries, scorer, ks=(candidates,), exclude_history=True).metrics[f"ndcg@{candidates}"]
    assert found == pytest.approx(figures["blend"], abs=1e-6)


def test_the_exported_model_orders_by_the_blend(blended):
    version = export(blended, SPLIT, QUIET)  # refuses where the saved answers are not the live ones
    bench = loaded(blended)
    test = load_sequences(bench.dataset, "test", bench.preparation.catalogue)
    probes = Probes(bench.preparation, test, signature_inputs(bench.model, bench.preparation.item_text))
    request = probes.of("rank", 16)
    signature = tf.saved_model.load(str(version)).signatures["rank"]
    heard = signature(**{name: tf.constant(value) for name, value in request.items()})[SCORE].numpy()
    np.testing.assert_allclose(heard, live_scores(bench, request), rtol=1e-5, atol=1e-5)
    bench.model.blend = Blend(0.5)
    without = live_scores(bench, request)
    assert np.nanmax(np.abs(heard - without)) > 0.01
    bench.model.blend = Blend(0.0, 7.0, 2.0)
    assert np.nanmax(np.abs(heard - live_scores(bench, request))) > 1e-4


def live_scores(bench: Workbench, request: Arrays) -> np.ndarray:
    live = LiveModel(bench, 10, bench.model.config.model.history.max_length)
    return live.answer("rank", request)[SCORE]


def test_opinions_weighed_again_are_what_they_were(blended, trained, tmp_path):
    """A run that was killed before it was finished may have neighbours and a blend already."""
    shutil.copytree(blended.work_dir, tmp_path / "copy")
    config = blended.model_copy(update={"work_dir": tmp_path / "copy"})
    run = RunDirectory(config.run_dir(SPLIT))
    write_blend(run, Blend(0.5, 7.0, 2.0, history_words=0.3, words_half_life=4.0), {})
    weigh_opinions(config.train, loaded(config), run, QUIET)
    expected = RunDirectory(trained.run_dir(SPLIT))
    assert json.loads(run.blend_file.read_text()) == json.loads(expected.blend_file.read_text())
    assert run.neighbours_file.exists() == expected.neighbours_file.exists()


def test_a_broken_blend_is_refused(blended, tmp_path):
    shutil.copytree(blended.work_dir, tmp_path / "copy")
    config = blended.model_copy(update={"work_dir": tmp_path / "copy"})
    RunDirectory(config.run_dir(SPLIT)).blend_file.write_text("{")
    with pytest.raises(RunError, match="Train again"):
        loaded(config)
