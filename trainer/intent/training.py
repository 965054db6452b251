"""`twotower train --task intent`: from labelled texts to a finished run, resumable at any epoch."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from trainer.checkpoint import load_checkpoint
from trainer.config import digest_of
from trainer.errors import DatasetError
from trainer.fitting import Schedule, fit_resumably
from trainer.intent.answers import answer_report, print_answers
from trainer.intent.card import write_intent_card
from trainer.intent.classifier import IntentClassifier, make_optimizer
from trainer.intent.config import IntentConfig
from trainer.intent.labelled import LabelledTexts, numbers_of, read_labelled, split_by_label
from trainer.intent.pieces import WordPieces, training_batches
from trainer.intent.project import IntentProject
from trainer.intent.report import classification_report, print_classification
from trainer.keras_compat import keras
from trainer.run import RunDirectory, write_json
from trainer.text_encoder import TextEncoder, load_text_encoder
from trainer.workbench import encoder_fingerprint

_MONITORED = "val_accuracy"
_DONE = "epochs_done"  # monitored where nothing is held out: the last epoch is the best
_BATCH = 256  # texts classified at once where nothing is trained


def train(project: IntentProject, console: Console, *, overwrite: bool = False) -> RunDirectory:
    """Fine-tunes a BERT on labelled texts, or goes on where an interrupted run stopped.

    Args:
        project: The configuration file.
        console: For progress.
        overwrite: Begin anew even if there is a run.

    Returns:
        The finished run.

    Raises:
        ConfigError: the text encoder cannot be used.
        DatasetError: the labelled file cannot be used.
        TrainingDivergedError: the loss became NaN or infinite.
    """
    config, run = project.intent, RunDirectory(project.run_dir)
    texts = _read(config, config.train)
    identity = digest_of(_learned(config), texts.digest(), encoder_fingerprint(project.encoder()))
    began = time.monotonic()
    start = {"task": "intent", "classes": list(texts.classes())}
    if not run.begin(identity, overwrite, **start):
        console.print(
            f"{run.path} is up to date: same texts, settings and encoder. Use --overwrite to train again."
        )
        return run
    state = _fit(project, texts, run, console)
    best = state["history"][state["best_epoch"]]
    manifest = {
        "identity": identity,
        **start,
        "finished": True,
        "settings": config.model_dump(mode="json"),
        "twotower_version": version("twotower"),
        "best_epoch": state["best_epoch"] + 1,
        "epochs": state["epoch"] + 1,
        "validation": best,
        "seconds": round(time.monotonic() - began, 1),
    }
    write_intent_card(run, project.name, manifest)
    run.write_manifest(manifest)
    chosen = f"validation accuracy {best[_MONITORED]:.4f}" if _MONITORED in best else "the last one"
    console.print(f"Best epoch {state['best_epoch'] + 1}: {chosen}. Run: {run.path}")
    return run


def evaluate(project: IntentProject, console: Console) -> dict[str, Any]:
    """Classifies the test file with the best epoch, prints and writes the classification report.

    Raises:
        DatasetError: there is no test file, or it cannot be used.
        RunError: there is no finished run.
    """
    config = project.intent
    if config.test is None:
        raise DatasetError(
            "There is nothing to evaluate on: set intent.test to a CSV file of labelled texts."
        )
    texts = _read(config, config.test)
    classifier, encoder, classes = load_trained(project)
    numbers_of(texts.labels, classes, config.test)  # says what is wrong with them
    report = _measure(classifier, WordPieces.of(texts, encoder, classes), classes)
    print_classification(report, console, str(config.test))
    if config.answers:
        known = _read(config, config.train)
        pieces = [WordPieces.of(part, encoder, classes) for part in (texts, known)]
        report["answers"] = answer_report(
            (texts.texts, known.texts),
            (pieces[0].labels, pieces[1].labels),
            (classifier.read(pieces[0]), classifier.read(pieces[1])),
            encoder,
        )
        print_answers(report["answers"], console, len(known))
    write_json(project.evaluation_file, report)
    run = RunDirectory(project.run_dir)
    write_intent_card(run, project.name, run.finished(), report)
    console.print(f"Written: {project.evaluation_file}")
    return report


def load_trained(project: IntentProject) -> tuple[IntentClassifier, TextEncoder, tuple[str, ...]]:
    """The classifier with the weights of its best epoch, its encoder, and the names of its classes.

    Raises:
        RunError: there is no finished run.
    """
    run = RunDirectory(project.run_dir)
    classes = tuple(run.finished()["classes"])
    classifier, encoder = _fresh(project, len(classes))
    optimizer = make_optimizer(project.intent, classifier, 1)
    load_checkpoint(run.best, [*classifier.variables, *optimizer.variables])
    return classifier, encoder, classes


def _read(config: IntentConfig, file: Path) -> LabelledTexts:
    return read_labelled(file, config.text_column, config.label_column)


def _learned(config: IntentConfig) -> dict[str, Any]:
    """The settings that change what is learned."""
    return config.model_dump(
        mode="json", exclude={"train", "test", "encoder", "answers", "answer_column", "tower"}
    )


def _fresh(project: IntentProject, classes: int) -> tuple[IntentClassifier, TextEncoder]:
    config = project.intent
    keras.utils.set_random_seed(config.seed)
    encoder = load_text_encoder(
        project.encoder(), max_tokens=config.max_tokens, max_characters=config.max_characters
    )
    return IntentClassifier(config, encoder, classes), encoder


def _fit(project: IntentProject, texts: LabelledTexts, run: RunDirectory, console: Console) -> dict[str, Any]:
    config, classes = project.intent, texts.classes()
    classifier, encoder = _fresh(project, len(classes))
    learn, choose = split_by_label(texts.labels, config.validation_share, config.seed)
    pieces = WordPieces.of(texts.rows(learn), encoder, classes)
    held = WordPieces.of(texts.rows(choose), encoder, classes)
    steps = -(-len(pieces) // config.batch_size)
    optimizer = make_optimizer(config, classifier, config.epochs * steps)
    classifier.compile(optimizer=optimizer, jit_compile=False)
    variables = [*classifier.variables, *optimizer.variables]
    console.print(
        f"{len(pieces):,} texts to learn from, {len(held):,} to choose the epoch by, {len(classes)} classes."
    )
    if not run.last.exists():
        classifier.begin_with_means(pieces)
    return fit_resumably(
        classifier,
        variables,
        run,
        lambda first: training_batches(pieces, config, first),
        lambda: _figures(classifier, held, classes) or {_DONE: float(optimizer.iterations) / steps},
        console,
        Schedule(config.epochs, steps, config.patience, _MONITORED if len(held) else _DONE),
    )


def _figures(classifier: IntentClassifier, pieces: WordPieces, classes: tuple[str, ...]) -> dict[str, float]:
    if not len(pieces):
        return {}
    report = _measure(classifier, pieces, classes)
    return {f"val_{name}": report[name] for name in ("accuracy", "macro_f1")}


def _measure(classifier: IntentClassifier, pieces: WordPieces, classes: tuple[str, ...]) -> dict[str, Any]:
    return classification_report(classes, pieces.labels, predict(classifier, pieces))


def predict(classifier: IntentClassifier, pieces: WordPieces) -> npt.NDArray[np.int64]:
    """int64 [N] most likely class of every text."""
    predicted = np.zeros(len(pieces), np.int64)
    for rows in pieces.by_length(_BATCH):
        predicted[rows] = classifier.most_likely(*pieces.take(rows)).numpy()
    return predicted
