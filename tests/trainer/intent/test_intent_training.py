from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from trainer import cli
from trainer.checkpoint import load_checkpoint
from trainer.errors import ConfigError, DatasetError, RunError
from trainer.intent.classifier import IntentClassifier, divergence, make_optimizer
from trainer.intent.config import IntentConfig
from trainer.intent.labelled import LabelledTexts
from trainer.intent.pieces import WordPieces, training_batches
from trainer.intent.project import IntentProject, load_intent_project
from trainer.intent.training import evaluate, load_trained, predict, train
from trainer.keras_compat import tf
from trainer.layerwise import LayerwiseAdamW, bert_factors
from trainer.run import RunDirectory

QUIET = Console(quiet=True)


def test_labels_that_a_word_decides_are_learned(trained):
    report = evaluate(trained, QUIET)
    assert report["texts"] == 12
    assert report["accuracy"] == report["macro_f1"] == 1.0
    assert json.loads(trained.evaluation_file.read_text())["accuracy"] == 1.0
    assert "12 texts: accuracy 1.0000" in RunDirectory(trained.run_dir).card_file.read_text()


def test_a_finished_run_is_not_trained_again_unless_asked(trained, capsys):
    manifest = trained.run_dir / "run.json"
    before = manifest.stat().st_mtime_ns
    train(trained, Console())
    assert "is up to date" in " ".join(capsys.readouterr().out.split())
    assert manifest.stat().st_mtime_ns == before


def test_interrupted_and_resumed_is_the_same_as_in_one_go(trained, tmp_path):
    other = trained.model_copy(update={"work_dir": tmp_path})

    class StopError(Exception):
        pass

    class Impatient(Console):
        epochs = 0

        def print(self, *objects, **settings):
            self.epochs += "epoch" in str(objects[:1]) and "s)" in str(objects[:1])
            if self.epochs == 2:
                raise StopError
            super().print(*objects, **settings)

    with Path(os.devnull).open("w") as nowhere:
        with pytest.raises(StopError):
            train(other, Impatient(file=nowhere))
        with pytest.raises(RunError, match="interrupted"):
            load_trained(other)
        train(other, QUIET)
    first, second = (_last_weights(project) for project in (trained, other))
    assert [array.shape for array in first] == [array.shape for array in second]
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))


def _last_weights(project: IntentProject) -> list[np.ndarray]:
    classifier, _, _ = load_trained(project)
    optimizer = make_optimizer(project.intent, classifier, 1)
    load_checkpoint(RunDirectory(project.run_dir).last, [*classifier.variables, *optimizer.variables])
    return [variable.numpy() for variable in classifier.variables]


def test_the_dense_layer_begins_with_the_mean_of_each_class(trained, encoder):
    texts = LabelledTexts(("a film", "a sad film", "dark"), ("x", "x", "y"))
    pieces = WordPieces.of(texts, encoder, ["x", "y"])
    config = IntentConfig(train=Path("x"), scale=7.0)
    classifier = IntentClassifier(config, encoder.with_backbone(encoder.backbone), 2)
    classifier.begin_with_means(pieces)
    vectors = encoder.encode_all(texts.texts, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = vectors[0] + vectors[1]
    expected = 7 * np.stack([mean / np.linalg.norm(mean), vectors[2]])
    np.testing.assert_allclose(classifier.head.kernel.numpy().T, expected, atol=1e-4)
    np.testing.assert_allclose(classifier.logits(*pieces.take(np.arange(3))), vectors @ expected.T, atol=1e-4)


def test_nothing_held_out_learns_from_all_and_keeps_the_last_epoch(trained, tmp_path, capsys):
    settings = {"validation_share": 0.0, "consistency": 1.0, "epochs": 3, "patience": 1}
    every = trained.model_copy(
        update={"work_dir": tmp_path, "intent": trained.intent.model_copy(update=settings)}
    )
    run = train(every, Console(width=200))
    said = capsys.readouterr().out
    assert "60 texts to learn from, 0 to choose the epoch by" in said
    assert "Best epoch 3: the last one" in said
    assert (run.finished()["best_epoch"], run.finished()["validation"]["epochs_done"]) == (3, 3.0)
    assert "| epochs_done | 3.0000 |" in run.card_file.read_text()


def test_divergence_is_that_of_kullback_and_leibler_both_ways():
    one, other = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]])
    # KL(p, q) + KL(q, p) of the first row: .5 ln 2 + .5 ln(2/3) + .25 ln .5 + .75 ln 1.5; the second row is 0.
    row = 0.5 * np.log(2) + 0.5 * np.log(2 / 3) + 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert float(divergence(tf.constant(one), tf.constant(other))) == pytest.approx(row / 2)


def test_a_label_only_in_the_test_file_is_refused(trained, tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("text,label\na film,unheard\n")
    changed = trained.intent.model_copy(update={"test": file})
    with pytest.raises(DatasetError, match="1 labels that the training file lacks, for example 'unheard'"):
        evaluate(trained.model_copy(update={"intent": changed}), QUIET)
    with pytest.raises(DatasetError, match=r"set intent\.test"):
        evaluate(
            trained.model_copy(update={"intent": trained.intent.model_copy(update={"test": None})}), QUIET
        )


def test_a_batch_alone_or_together_has_one_answer(trained):
    classifier, encoder, classes = load_trained(trained)
    texts = LabelledTexts(("a sad film", "film", "new dark film a funny film i12"), ("cry",) * 3)
    together = predict(classifier, WordPieces.of(texts, encoder, classes))
    for row in range(3):
        alone = WordPieces.of(texts.rows(np.asarray([row])), encoder, classes)
        assert predict(classifier, alone).tolist() == [together[row]]


def test_batches_hold_every_text_once_an_epoch_in_a_new_order(encoder):
    texts = LabelledTexts(tuple("film " * n for n in range(1, 8)), ("x",) * 7)
    pieces = WordPieces.of(texts, encoder, ["x"])
    config = IntentConfig(train=Path("x"), epochs=2, batch_size=3, seed=1)
    lengths = _lengths(training_batches(pieces, config, 0))
    assert [len(batch) for batch in lengths] == [3, 3, 1] * 2
    first, second = ([n for batch in epoch for n in batch] for epoch in (lengths[:3], lengths[3:]))
    assert sorted(first) == sorted(second) == list(range(3, 10))  # [CLS] and [SEP] beside 1 to 7 words
    assert first != second
    assert _lengths(training_batches(pieces, config, 1)) == lengths[3:]  # resumed


def _lengths(batches) -> list[list[int]]:
    return [np.diff(batch["row_splits"]).tolist() for batch in batches.as_numpy_iterator()]


def test_factors_fall_by_layer():
    layers = [_Layer(["l0/w"]), _Layer(["l1/w"]), _Layer(["l2/w"])]
    backbone = _Backbone(layers, _Layer(["emb/w"]))
    factors = bert_factors(backbone, 0.5)
    assert factors == {"l2/w": 1.0, "l1/w": 0.5, "l0/w": 0.25, "emb/w": 0.125}


class _Layer:
    def __init__(self, paths: list[str]) -> None:
        self.weights = [type("Weight", (), {"path": path})() for path in paths]


class _Backbone:
    def __init__(self, layers: list[_Layer], embedding: _Layer) -> None:
        self.transformer_layers = layers
        self.token_embedding = self.position_embedding = embedding
        self.segment_embedding = self.embeddings_layer_norm = _Layer([])


def test_a_variable_learns_at_its_own_rate():
    import keras

    fast, slow = (keras.Variable([[1.0]], name=name) for name in ("fast", "slow"))
    optimizer = LayerwiseAdamW({slow.path: 0.1}, learning_rate=0.01, weight_decay=0.0)
    optimizer.build([fast, slow])
    optimizer.apply_gradients([(tf.constant([[1.0]]), fast), (tf.constant([[1.0]]), slow)])
    # Adam's first step is the learning rate itself: m / sqrt(v) is 1 after the bias correction.
    assert float(1 - fast.numpy()[0, 0]) == pytest.approx(0.01, rel=1e-3)
    assert float(1 - slow.numpy()[0, 0]) == pytest.approx(0.001, rel=1e-3)


def test_vectors_do_not_decay_and_matrices_do():
    import keras

    matrix, vector = keras.Variable([[1.0]], name="m"), keras.Variable([1.0], name="v")
    optimizer = LayerwiseAdamW({}, learning_rate=0.1, weight_decay=0.5)
    optimizer.build([matrix, vector])
    optimizer.apply_gradients([(tf.zeros([1, 1]), matrix), (tf.zeros([1]), vector)])
    assert float(matrix.numpy()[0, 0]) == pytest.approx(0.95)  # 1 - 0.1 * 0.5
    assert float(vector.numpy()[0]) == 1.0


def test_what_the_configuration_lacks_is_said(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\nwork_dir = "x"\n')
    with pytest.raises(ConfigError, match=r"no table \[intent\]"):
        load_intent_project(file)
    file.write_text('name = "x"\nwork_dir = "x"\n[intent]\ntrain = "a.csv"\nepoch = 3\n')
    with pytest.raises(ConfigError, match=r"unknown key 'intent.epoch'; did you mean 'epochs'"):
        load_intent_project(file)


def test_paths_may_name_environment_variables(monkeypatch):
    monkeypatch.setenv("SOME_DATA", "/data")
    config = IntentConfig(train=Path("$SOME_DATA/train.csv"))
    assert (config.train, config.test) == (Path("/data/train.csv"), None)
    monkeypatch.delenv("SOME_DATA")
    with pytest.raises(ValueError, match=r"environment variable in \$SOME_DATA/train.csv is not set"):
        IntentConfig(train=Path("$SOME_DATA/train.csv"))


def test_the_command_line_says_what_does_not_go_together(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text("")
    for command, options, words in (
        (cli.train, ["--split", "by_time"], "no split protocols"),
        (cli.export, ["--candidate"], "promotion measures recommendations"),
    ):
        result = CliRunner().invoke(command, [str(file), "--task", "intent", *options])
        assert result.exit_code == 2
        assert words in " ".join(result.output.split())
