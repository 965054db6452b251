"""`twotower train` on the checkerboard: what it learns, and what an interruption costs (nothing)."""

from __future__ import annotations

import io
import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.trainer.dataset_writer import _write
from trainer import callbacks, fitting, training
from trainer.callbacks import MONITORED, Checkpoints, ProgressBar, StopWhenDiverged
from trainer.dataset import DatasetDirectory
from trainer.errors import DatasetError, RunError, TrainingDivergedError
from trainer.evaluation.baselines.popularity import Popularity
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.keras_compat import keras, tf
from trainer.neighbours.weights import Blend
from trainer.run import RunDirectory
from trainer.scoring import ModelScorer, encode_catalogue, recent_positions
from trainer.sequences import load_sequences, queries_of
from trainer.training import load_best, train
from trainer.validation import epoch_figures
from trainer.workbench import Workbench

SPLIT = "leave_last_out"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(trained) -> RunDirectory:
    return RunDirectory(trained.run_dir(SPLIT))


@pytest.fixture(scope="module")
def bench(trained, run) -> Workbench:
    opened = Workbench.open(trained, DatasetDirectory.open(trained.dataset_dir(SPLIT)), QUIET)
    load_best(opened.model, trained.train, run)
    return opened


@pytest.fixture(scope="module")
def validation(bench):
    sequences = load_sequences(bench.dataset, "validation", bench.preparation.catalogue)
    return sequences, queries_of(sequences)


def arrays(checkpoint) -> dict[str, np.ndarray]:
    with np.load(checkpoint / "variables.npz") as found:
        return {name: found[name] for name in found.files}


@pytest.fixture(scope="module")
def resumed(trained, tmp_path_factory):
    """The same training elsewhere: interrupted in its fifth epoch, made to diverge in its ninth, then finished."""
    work = tmp_path_factory.mktemp("resumed")
    shutil.copytree(trained.dataset_dir(SPLIT), work / SPLIT / "dataset")
    shutil.copytree(trained.encoder(), work / "encoder")
    config = trained.model_copy(update={"work_dir": work})
    run = RunDirectory(config.run_dir(SPLIT))
    seen = SimpleNamespace(config=config, run=run)

    class Interrupted(ProgressBar):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (4, 2):
                raise KeyboardInterrupt

    class Poisoned(ProgressBar):
        def on_epoch_end(self, epoch, logs):
            if epoch == 7:  # after the checkpoint of the eighth epoch was written
                kernel = self.model.ranking_head._value.kernel
                kernel.assign(kernel * math.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "ProgressBar", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, SPLIT, QUIET)
        seen.after_interruption = json.loads((run.last / "state.json").read_text())
        with pytest.raises(RunError, match="was interrupted"):
            run.finished()
        patch.setattr(fitting, "ProgressBar", Poisoned)
        with pytest.raises(TrainingDivergedError) as error:
            train(config, SPLIT, QUIET)
        seen.divergence = str(error.value)
        seen.after_divergence = json.loads((run.last / "state.json").read_text())
        seen.kept = arrays(run.last)
    printed = io.StringIO()
    train(config, SPLIT, Console(file=printed, width=200))
    seen.printed = printed.getvalue()
    return seen


def test_an_interruption_loses_the_epoch_that_was_running_alone(resumed):
    assert resumed.after_interruption["epoch"] == 3
    assert len(resumed.after_interruption["history"]) == 4


def test_a_loss_that_is_not_a_number_stops_training_and_keeps_the_last_good_epoch(resumed):
    assert "In epoch 9 " in resumed.divergence
    assert "value_loss" in resumed.divergence
    assert "Lower train.learning_rate" in resumed.divergence
    assert resumed.after_divergence["epoch"] == 7
    assert all(np.isfinite(array).all() for array in resumed.kept.values())


def test_a_resumed_run_ends_where_an_uninterrupted_one_ends(resumed, run):
    """Bit by bit: weights, optimizer, random number generators, and every figure on the way."""
    for place in ("last", "best"):
        expected, came = arrays(getattr(run, place)), arrays(getattr(resumed.run, place))
        assert set(came) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(came[name], array, err_msg=name)
    assert json.loads(resumed.run.history_file.read_text()) == json.loads(run.history_file.read_text())
    same = ("identity", "best_epoch", "epochs", "validation", "settings", "dataset_digest", "encoder_digest")
    came, expected = resumed.run.finished(), run.finished()
    assert {name: came[name] for name in same} == {name: expected[name] for name in same}


def test_a_resumed_run_says_so(resumed):
    assert "Going on after epoch 8 of an interrupted run." in resumed.printed
    epochs = resumed.config.train.epochs
    assert f"epoch 9/{epochs}: " in resumed.printed
    assert f"epoch 8/{epochs}: " not in resumed.printed
    assert f"Run: {resumed.run.path}" in resumed.printed.replace("\n", "")


def test_the_checkerboard_is_learned(run, bench, validation):
    queries = validation[1]
    figures = run.finished()["validation"]
    train_split = bench.train
    popularity = Popularity().fit(train_split.items, train_split.row_splits, len(bench.preparation.catalogue))
    chance = evaluate(queries, popularity.scorer(queries), (10,)).metrics["ndcg@10"]
    assert chance < 0.35
    assert figures["val_ndcg@10"] > 2 * chance
    assert figures["val_ndcg@10"] > 0.6
    history = json.loads(run.history_file.read_text())
    assert history[-1]["retrieval_loss"] < 0.8 * history[0]["retrieval_loss"]
    best = max(history, key=lambda row: row[MONITORED])
    assert best == figures
    assert run.finished()["best_epoch"] == best["epoch"] + 1


def test_the_best_epoch_is_what_is_loaded(run, bench, validation, monkeypatch):
    """The figures of the best epoch come again from its checkpoint; the blend is chosen after it."""
    monkeypatch.setattr(bench.model, "blend", Blend())
    sequences, queries = validation
    figures = run.finished()["validation"]
    for rerank, name in ((False, "val_ndcg@10"), (True, "val_ranked_ndcg@10")):
        scorer = ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=rerank)
        assert evaluate(queries, scorer, (10,)).metrics["ndcg@10"] == pytest.approx(figures[name], abs=1e-6)


@pytest.fixture
def no_work(monkeypatch):
    """Notes what `train` would begin with instead of doing it."""
    begun = []

    def fit(config, bench, run, begin_from, console, placement, watchers):
        begun.append(run.last.exists())
        row = {"epoch": 0, "val_ndcg@10": 0.5}
        return {"best_epoch": 0, "epoch": 0, "history": [row]}

    monkeypatch.setattr(training, "_fit", fit)
    monkeypatch.setattr(training, "_describe", lambda *arguments: None)
    opened = SimpleNamespace(encoder_digest=None)
    monkeypatch.setattr(training.Workbench, "open", lambda *arguments, **named: opened)
    return begun


@pytest.fixture
def copy(trained, tmp_path):
    """The finished run in a place of its own."""
    shutil.copytree(trained.work_dir / SPLIT, tmp_path / SPLIT)
    shutil.copytree(trained.encoder(), tmp_path / "encoder")
    return trained.model_copy(update={"work_dir": tmp_path})


def test_a_finished_run_is_not_trained_again(copy, no_work):
    before = RunDirectory(copy.run_dir(SPLIT)).finished()
    printed = io.StringIO()
    train(copy, SPLIT, Console(file=printed, width=500))
    assert "is up to date" in printed.getvalue()
    assert RunDirectory(copy.run_dir(SPLIT)).finished() == before
    assert no_work == []


def test_asked_to_overwrite_it_begins_anew(copy, no_work):
    train(copy, SPLIT, QUIET, overwrite=True)
    assert no_work == [False]  # without the old checkpoints


@pytest.mark.parametrize("what", ["settings", "data", "encoder"])
def test_a_change_begins_anew(copy, no_work, what):
    if what == "settings":
        copy = copy.model_copy(update={"train": copy.train.model_copy(update={"seed": 43})})
    elif what == "data":
        file = copy.dataset_dir(SPLIT) / "dataset.json"
        file.write_text(file.read_text().replace('"input_digest": "', '"input_digest": "other '))
    else:
        (copy.work_dir / "encoder" / "more").write_text("weights")
    run = train(copy, SPLIT, QUIET)
    assert no_work == [False]
    assert run.finished()["epochs"] == 1


def test_the_same_settings_go_on_with_the_checkpoints(copy, no_work):
    run = RunDirectory(copy.run_dir(SPLIT))
    run.write_manifest({"identity": run.finished()["identity"], "finished": False})
    train(copy, SPLIT, QUIET)
    assert no_work == [True]


def test_without_held_out_events_training_says_so(copy, bench):
    folder = copy.dataset_dir(SPLIT) / "sequences" / "validation"
    shutil.rmtree(folder)
    _write(folder / "part-00000-of-00001.tfrecord.gz", [])
    changed = replace(bench, dataset=DatasetDirectory.open(copy.dataset_dir(SPLIT)))
    with pytest.raises(DatasetError, match="validation split has no event"):
        epoch_figures(changed, copy.train, QUIET)


def epochs_of(checkpoints: Checkpoints, figures: list[float]) -> list[bool]:
    model = SimpleNamespace(stop_training=False)
    checkpoints.set_model(model)
    stopped = []
    for figure in figures:
        checkpoints.on_epoch_end(checkpoints.state["epoch"] + 1, {MONITORED: figure})
        stopped.append(model.stop_training)
    return stopped


def test_training_stops_when_the_best_epoch_is_long_ago(tmp_path):
    run = RunDirectory(tmp_path)
    kept = [keras.Variable(1.0, name="w")]
    assert epochs_of(Checkpoints(run, kept, 2, {}), [0.1, 0.3, 0.3, 0.2]) == [False, False, False, True]
    state = json.loads((run.last / "state.json").read_text())
    assert (state["epoch"], state["best_epoch"], state["best"]) == (3, 1, 0.3)
    assert json.loads((run.best / "state.json").read_text())["epoch"] == 1
    again = Checkpoints(run, kept, 2, state)
    assert again.exhausted
    assert epochs_of(Checkpoints(run, kept, 9, state), [0.9]) == [False]  # more patience, and it goes on
    assert json.loads((run.best / "state.json").read_text())["epoch"] == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_divergence_is_told_by_name(value):
    with pytest.raises(TrainingDivergedError, match=r"In epoch 3 loss, b became NaN or infinite"):
        StopWhenDiverged().on_epoch_end(2, {"loss": value, "a": 1.0, "b": np.float32(value)})
    StopWhenDiverged().on_epoch_end(2, {"loss": 1.0})


def test_elsewhere_than_on_a_terminal_an_epoch_is_a_line():
    printed = io.StringIO()
    bar = callbacks.ProgressBar(Console(file=printed, width=200), epochs=3, steps=2, first_epoch=1)
    bar.on_train_begin()
    bar.on_epoch_begin(1)
    bar.on_train_batch_end(0)
    bar.on_epoch_end(1, {"loss": 0.5, MONITORED: 0.25, "other": 1.0})
    bar.close()
    assert printed.getvalue().startswith("  epoch 2/3: loss 0.5000 val_ndcg@10 0.2500 (")
    assert "other" not in printed.getvalue()


def test_the_learning_rate_warms_up_and_falls_to_a_tenth(config):
    settings_ = config.train.model_copy(update={"epochs": 10, "warmup_steps": 20, "learning_rate": 0.01})
    rate = training.make_optimizer(settings_, steps=12)._learning_rate  # 120 steps
    assert [float(rate(step)) for step in (0, 10, 20)] == pytest.approx([0.0, 0.005, 0.01])
    assert float(rate(70)) == pytest.approx(0.01 * 0.55, rel=1e-4)  # half of the cosine: (1 + 0.1) / 2
    assert float(rate(120)) == float(rate(10_000)) == pytest.approx(0.001)


def test_retrieval_scores_are_products_of_the_towers(bench, validation):
    sequences, queries = validation
    scores = ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=False)(3, 5)
    vectors = encode_catalogue(bench.model)
    items = queries.items[queries.row_splits[3] : queries.target[3]]  # six events, as many as the model reads
    history = {"vectors": tf.gather(vectors, items)[None], "mask": tf.ones([1, len(items)], tf.bool)}
    raw = {
        "gender": tf.constant(sequences.user_columns["gender"][3:4]),
        "age": sequences.user_columns["age"][3:4],
    }
    query = bench.model.encode_queries(
        history, bench.preparation.user_lookup(raw), tf.zeros([1, bench.model.spec.text_width])
    )
    np.testing.assert_allclose(scores[0], (query.numpy() @ vectors.numpy().T)[0], rtol=1e-4, atol=1e-4)
    assert scores.shape == (2, 25)


def test_the_vectors_of_the_catalogue_do_not_depend_on_the_batches(bench):
    whole = encode_catalogue(bench.model).numpy()
    assert whole.shape == (25, 16)
    np.testing.assert_allclose(encode_catalogue(bench.model, batch_size=7).numpy(), whole, atol=1e-5)


def test_reranked_candidates_stay_above_all_others(bench, validation):
    sequences, queries = validation
    plain, ranked = (
        ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=rerank)(0, len(queries))
        for rerank in (False, True)
    )
    unseen = plain.copy()
    unseen[queries.seen(0, len(queries))] = -np.inf
    candidates = np.zeros(plain.shape, bool)
    np.put_along_axis(candidates, np.argsort(-unseen, axis=1)[:, :8], True, axis=1)  # ranking.candidates = 8
    for row in range(len(queries)):
        assert ranked[row][candidates[row]].min() > ranked[row][~candidates[row]].max()
    np.testing.assert_array_equal(ranked[~candidates], plain[~candidates])
    order = [np.argsort(-scores, axis=1)[:, :8] for scores in (unseen, ranked)]
    assert (np.sort(order[0], axis=1) == np.sort(order[1], axis=1)).all()
    assert (order[0] != order[1]).any()  # the head has an opinion of its own


def test_histories_may_take_part_in_the_candidates(bench, validation):
    sequences, queries = validation
    scores = [
        ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=True, exclude_history=exclude)(
            0, 4
        )
        for exclude in (True, False)
    ]
    assert (scores[0] != scores[1]).any()


def test_a_target_that_is_chosen_again_stays_among_the_candidates(bench, validation):
    sequences, queries = validation
    items = sequences.items.copy()
    items[queries.target] = items[queries.target - 1]  # everybody takes the last item again
    again = replace(sequences, items=items)
    asked = queries_of(again)
    rows = [
        ModelScorer(
            bench.model, bench.preparation, again, asked, rerank=True, exclude_history=exclude
        ).candidates(0, len(asked), (Blend(),))[0]
        for exclude in (False, True)
    ]
    there = [(found == asked.target_items()[:, None]).any(axis=1) for found in rows]
    assert there[0].any()
    assert (there[1] >= there[0]).all()  # without the rest of the history it can only rise
    for query, found in enumerate(rows[1]):
        history = set(asked.histories(query, query + 1, 100)[0].tolist()) - {asked.target_items()[query]}
        assert not history & set(found.tolist())


def test_batches_of_any_size_are_scored_by_one_trace(bench, validation):
    sequences, queries = validation
    scorer = ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=True)
    blends = (Blend(), Blend(correction=0.5))
    whole = scorer(0, 4)
    rows, both = scorer.candidates(0, 4, blends)
    for start, stop in ((0, 1), (1, 4)):
        np.testing.assert_allclose(scorer(start, stop), whole[start:stop], rtol=1e-5, atol=1e-5)
        part, scores = scorer.candidates(start, stop, blends)
        np.testing.assert_array_equal(np.sort(part, axis=1), np.sort(rows[start:stop], axis=1))
        assert scores.shape == (2, stop - start, 8)
    assert not np.allclose(both[0], both[1])
    traced = (scorer._score, scorer._score_candidates)
    assert [function.experimental_get_tracing_count() for function in traced] == [1, 1]


sequences_with_gaps = st.lists(st.lists(st.integers(-1, 5), min_size=1, max_size=9), min_size=1, max_size=4)


@settings(deadline=None)
@given(sequences_with_gaps, st.integers(1, 6))
def test_the_recent_events_are_those_of_the_evaluation(lists, length):
    items = np.concatenate([np.asarray(row, np.int32) for row in lists])
    splits = np.concatenate([[0], np.cumsum([len(row) for row in lists])])
    queries = EvaluationQueries.from_sequences(items, splits, np.zeros(len(lists), np.int64))
    positions = recent_positions(queries, 0, len(queries), length)
    found = np.where(positions >= 0, np.append(items, -1)[positions], -1)
    np.testing.assert_array_equal(found, queries.histories(0, len(queries), length))
    known = [row[row >= 0] for row in positions]
    assert all((np.diff(row) > 0).all() for row in known)  # in the order of time
