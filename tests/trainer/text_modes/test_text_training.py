"""A training in which BERT learns from its second epoch on: from the first step to the exported model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from trainer import training
from trainer.asked_texts import AskedTexts
from trainer.callbacks import ProgressBar
from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.evaluation.ranking import evaluate
from trainer.export import export
from trainer.keras_compat import tf
from trainer.run import RunDirectory
from trainer.scoring import ModelScorer
from trainer.sequences import load_sequences, queries_of
from trainer.text_modes.rows import TextRows
from trainer.text_modes.tower import TextTower
from trainer.train_config import LoraConfig, TextConfig, TrainConfig
from trainer.training import load_best, train
from trainer.workbench import Workbench

SPLIT = "leave_last_out"
QUIET = Console(quiet=True)
LORA = TextConfig(
    mode="lora",
    unfreeze_after=1,
    width=6,
    learning_rate=0.02,
    warmup_steps=2,
    lora=LoraConfig(rank=2, targets=("query", "value", "inner")),
)


def project(config: ProjectConfig, work, text: TextConfig, epochs: int) -> ProjectConfig:
    """The same project with other text settings, elsewhere."""
    shutil.copytree(config.dataset_dir(SPLIT), work / SPLIT / "dataset")
    shutil.copytree(config.encoder(), work / "encoder")
    learn = config.train.model_copy(update={"epochs": epochs, "text": text})
    place = config.export.model_copy(update={"directory": work / "saved_models"})
    return config.model_copy(update={"work_dir": work, "train": learn, "export": place})


def arrays(checkpoint) -> dict[str, np.ndarray]:
    with np.load(checkpoint / "variables.npz") as found:
        return {name: found[name] for name in found.files}


def opened(config: ProjectConfig) -> Workbench:
    return Workbench.open(config, DatasetDirectory.open(config.dataset_dir(SPLIT)), QUIET)


@pytest.fixture(scope="module")
def tuned(config, tmp_path_factory):
    """Trained for three epochs; the last one counts as the best, in which BERT has learned for sure."""
    made = project(config, tmp_path_factory.mktemp("tuned"), LORA, epochs=3)
    run = train(made, SPLIT, QUIET)
    shutil.rmtree(run.best)
    shutil.copytree(run.last, run.best)
    return made


@pytest.fixture(scope="module")
def bench(tuned):
    made = opened(tuned)
    load_best(made.model, tuned.train, RunDirectory(tuned.run_dir(SPLIT)))
    return made


@pytest.mark.slow
def test_bert_learns_from_the_epoch_on_that_was_asked_for(config, tuned, tmp_path, monkeypatch):
    """Interrupted in that epoch: until then nothing has moved, and the whole ends as without the interruption."""
    again = project(config, tmp_path, LORA, epochs=3)
    run = RunDirectory(again.run_dir(SPLIT))

    class Interrupted(ProgressBar):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (self.where, 1):
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "ProgressBar", Interrupted)
    for where in (1, 2):
        Interrupted.where = where
        with pytest.raises(KeyboardInterrupt):
            train(again, SPLIT, QUIET)
        kept = {name: array for name, array in arrays(run.last).items() if "lora" in name}
        moved = [name for name, array in kept.items() if name.endswith("up") and array.any()]
        assert len(kept) == 3 * 6  # weights and both moments of three matrices' factors
        assert bool(moved) == (where == 2)
    monkeypatch.undo()
    train(again, SPLIT, QUIET)
    whole = RunDirectory(tuned.run_dir(SPLIT))
    expected, came = arrays(whole.last), arrays(run.last)
    assert set(came) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(came[name], array, err_msg=name)
    assert json.loads(run.history_file.read_text()) == json.loads(whole.history_file.read_text())


@pytest.mark.slow
def test_what_was_learned_is_what_is_measured_and_loaded(bench, tuned, encoder):
    """The figures of the last epoch come again, from an encoder that is another one than at the start."""
    run = RunDirectory(tuned.run_dir(SPLIT))
    history = json.loads(run.history_file.read_text())
    validation = load_sequences(bench.dataset, "validation", bench.preparation.catalogue)
    queries = queries_of(validation)
    scorer = ModelScorer(bench.model, bench.preparation, validation, queries, rerank=False)
    figure = evaluate(queries, scorer, (10,)).metrics["ndcg@10"]
    assert figure == pytest.approx(history[-1]["val_ndcg@10"], abs=1e-5)
    texts = [bench.model.text_tower.rows.texts[row] for row in bench.model.text_tower.rows.items]
    vectors = bench.model.known_catalogue.inputs["text"].numpy()
    np.testing.assert_allclose(vectors, bench.encoder.encode_all(texts, 8), atol=1e-5)
    assert np.abs(vectors - encoder.encode_all(texts, 8)).max() > 1e-3
    assert run.finished()["encoder_digest"] == bench.encoder_digest != bench.encoder.digest()


@pytest.mark.slow
def test_the_export_holds_what_was_learned(tuned, bench):
    """`export` compares its answers with the live model's; here the text alone is asked for."""
    version = export(tuned, SPLIT, QUIET)
    loaded = tf.saved_model.load(str(version))
    signature = loaded.signatures["embed_item"]
    inputs = {
        "text": tf.constant(["a sad film"]),
        "genre": tf.constant([["Drama"]]),
        "year": tf.constant([1999.0]),
    }
    came = signature(**inputs)["embedding"].numpy()
    features = bench.preparation.item_lookup(inputs)
    features["id"] = tf.constant([0])
    features["text"] = tf.constant(bench.encoder.encode_all(["a sad film"], 1))
    np.testing.assert_allclose(came, bench.model.encode_items(features), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        TextConfig(mode="full", pooling="cls", learning_rate=1e-3),
        TextConfig(mode="top_layers", top_layers=1),
    ],
    ids=["full", "top_layers"],
)
def test_other_modes_train_and_export(config, tmp_path, text):
    made = project(config, tmp_path, text, epochs=2)
    train(made, SPLIT, QUIET)
    assert export(made, SPLIT, QUIET) is not None


ROWS = TextRows.of(
    ["a film", " ", "dark", "a film"], [["a", "film", "dark", "dark"], ["", "a", "dark", "sad"]]
)


def test_equal_and_blank_texts_are_one():
    assert ROWS.texts == ("", "a film", "dark", "a", "film", "sad")
    np.testing.assert_array_equal(ROWS.items, [1, 0, 2, 1])
    np.testing.assert_array_equal(ROWS.views, [[3, 0], [4, 3], [2, 2], [2, 5]])
    assert TextRows.of(["x"], []).views.shape == (1, 0)


def test_a_step_encodes_each_distinct_text_once(bert):
    tower = TextTower(bert, ROWS, TrainConfig(text=TextConfig(mode="full")))
    seen = []
    encode = tower.bert.__call__

    class Spy:
        variables = tower.bert.variables

        def __call__(self, pieces):
            seen.append(pieces)
            return encode(pieces)

    tower.bert = Spy()

    def step(items, targets, view, asks):
        seen.clear()
        asked = AskedTexts(tf.constant(view), tf.constant(asks), None)
        found = tower.of_step(tf.constant(items), tf.constant(targets), asked)
        return [*found, seen[0].row_lengths()]

    run = tf.function(step, autograph=False)
    items, queries, lengths = run([0, 1, 2, 3], [2, 0, 3, 3], [0, 1, 1, 1], [True, True, True, False])
    expected = bert.encode_all(["a film", "", "dark", "a film", "dark", "", "sad", ""], 8)
    np.testing.assert_allclose(tf.concat([items, queries], 0), expected, atol=1e-5)
    np.testing.assert_array_equal(lengths, [3, 3, 4])  # "dark", "sad", "a film" with [CLS] and [SEP]
    items, queries, lengths = run([1], [1], [0], [False])
    assert not np.any(items)
    assert not np.any(queries)
    assert len(lengths) == 0


def test_a_second_wish_is_read_by_the_bert_that_learns(bert):
    tower = TextTower(bert, ROWS, TrainConfig(text=TextConfig(mode="full")))

    def step(items, targets):
        asked = AskedTexts(tf.constant([0, 1]), tf.constant([True, True]), None, tf.constant([1, -1]))
        return tower.of_step(items, targets, asked)

    items, texts = tf.function(step, autograph=False)(tf.constant([2]), tf.constant([3, 1]))
    expected = bert.encode_all(["dark", "dark", "sad", "a", ""], 8)
    np.testing.assert_allclose(items, expected[:1], atol=1e-5)
    np.testing.assert_allclose(tf.reshape(texts, [4, -1]), expected[1:], atol=1e-5)
