"""`twotower export --task intent`: a trained classifier becomes a version of a served model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from trainer import contract
from trainer.config import digest_of
from trainer.errors import ConfigError, ExportError
from trainer.export import check_lint, read_facts
from trainer.intent.answer_search import KnownTexts
from trainer.intent.classifier import IntentClassifier
from trainer.intent.config import IntentConfig
from trainer.intent.labelled import LabelledTexts, read_labelled
from trainer.intent.pieces import WordPieces
from trainer.intent.project import IntentProject
from trainer.intent.serving import NEAREST, PREDICT, IntentModule, mark_classify
from trainer.intent.training import load_trained, predict
from trainer.intent.vectors import joined, unit
from trainer.keras_compat import tf
from trainer.publishing import publishing
from trainer.requests_file import write_requests
from trainer.run import RunDirectory, write_json
from trainer.text_encoder import TextEncoder
from trainer.verification import ask_stranger
from trainer.versions import newest_version, next_version

_CLEAR = 1e-4  # by how much a score must be greater to be told from rounding
_PROBES = 64


def export(project: IntentProject, console: Console, *, overwrite: bool = False) -> Path:
    """Writes the next version.

    Args:
        project: The configuration file.
        console: For progress.
        overwrite: Write a version even if the newest one is of the same run.

    Returns:
        The version directory.

    Raises:
        ExportError: the graph uses ops that the server lacks, or the export answers otherwise than the live model.
        RunError: there is no finished run.
    """
    manifest = RunDirectory(project.run_dir).finished()
    base = project.export.directory / project.name
    config = project.intent
    found = (config.answers, config.answer_column) if config.answers else ()
    identity = digest_of(manifest["identity"], project.export.serving_release, *found)
    newest = newest_version(base)
    if newest is not None and not overwrite and read_facts(newest).get("identity") == identity:
        console.print(f"{newest} is up to date: same run. Use --overwrite to write another version.")
        return newest
    classifier, encoder, classes = load_trained(project)
    probes = read_labelled(config.train, config.text_column, config.label_column)
    probes = probes.rows(np.linspace(0, len(probes) - 1, _PROBES).astype(np.int64))
    number = next_version(base)
    facts = {
        "format": contract.SERVING_FORMAT,
        "version": contract.SERVING_VERSION,
        "name": project.name,
        "model_version": number,
        "identity": identity,
        "task": "intent",
        "classes": list(classes),
        "serving_release": project.export.serving_release,
        "limits": {"query_characters": config.max_characters, "query_tokens": config.max_tokens},
        "validation": manifest["validation"],
        "twotower_version": version("twotower"),
        "tensorflow_version": tf.__version__,
    }
    with publishing(base, number) as folder:
        console.print(f"Writing version {number} of {project.name} ...")
        known = known_texts(config, classifier, encoder, classes)
        module = IntentModule(classifier, encoder, classes, known, config.answers)
        _save(module, facts, probes, project, folder)
        check_lint(folder, project.export.serving_release)
        console.print("Loading it in a fresh process and comparing its answers with the live model ...")
        live = predict(classifier, WordPieces.of(probes, encoder, classes))
        _compare([classes[row] for row in live], probes, folder, finds_answers=known is not None)
    console.print(f"Exported {base / str(number)}: {len(classes)} classes.")
    return base / str(number)


def known_texts(
    config: IntentConfig, classifier: IntentClassifier, encoder: TextEncoder, classes: Sequence[str]
) -> KnownTexts | None:
    """The texts of the training file with their answers, where `intent.answers` asks for them.

    Raises:
        ConfigError: there are fewer distinct answers than are to be found.
        DatasetError: the file cannot be used.
    """
    if not config.answers:
        return None
    texts = read_labelled(config.train, config.text_column, config.label_column)
    answers = texts.labels
    if config.answer_column is not None:
        answers = read_labelled(config.train, config.text_column, config.answer_column).labels
    if (distinct := len(set(answers))) < config.answers:
        raise ConfigError(
            f"intent.answers = {config.answers}, but {config.train} has {distinct} distinct answers only."
        )
    tuned, plain = (
        classifier.read(WordPieces.of(texts, encoder, classes)),
        encoder.encode_all(texts.texts, 256),
    )
    return KnownTexts(joined(tuned, unit(plain)), texts.texts, answers)


def _save(
    module: IntentModule, facts: dict[str, Any], probes: LabelledTexts, project: IntentProject, folder: Path
) -> None:
    signatures = module.signatures()
    signatures[contract.DEFAULT_SIGNATURE] = signatures[PREDICT]
    tf.saved_model.save(module, str(folder), signatures=signatures)
    mark_classify(str(folder))
    extra = folder / contract.EXTRA_ASSETS
    write_json(extra / contract.SERVING_FILE, {**facts, "signatures": sorted(signatures)})
    sizes = sorted(set(project.export.warmup_batch_sizes))
    asked = [name for name in (PREDICT, NEAREST) if name in signatures]
    requests = ((name, _request(probes, size)) for size in sizes for name in asked)
    write_requests(extra / contract.WARMUP_FILE, requests)


def _request(probes: LabelledTexts, size: int) -> dict[str, Any]:
    texts = [probes.texts[row % len(probes)].encode("utf-8") for row in range(size)]
    return {contract.QUERY: np.asarray(texts, object)}


def _compare(live: Sequence[str], probes: LabelledTexts, folder: Path, *, finds_answers: bool) -> None:
    """Asks the saved model in a fresh process: it must agree with the live one, and find each known text itself.

    Args:
        live: The most likely class of each probe by the model in this process.
        probes: Texts of the training file.
        folder: Of the saved model.
        finds_answers: Whether it has a signature that finds answers.
    """
    asked = [PREDICT, *([NEAREST] if finds_answers else [])]
    with tempfile.TemporaryDirectory() as scratch:
        requests = Path(scratch) / "requests"
        write_requests(requests, [(name, _request(probes, len(probes))) for name in asked])
        answers = ask_stranger(folder, requests, Path(scratch))
    for route in ("code", "server"):
        labels, scores = answers[f"{route}/0/label"], answers[f"{route}/0/{contract.SCORE}"]
        clear = scores[:, 0] - scores[:, 1] > _CLEAR if scores.shape[1] > 1 else np.ones(len(scores), bool)
        expected = np.asarray([label.encode("utf-8") for label in live])
        if (differ := np.flatnonzero(clear & (labels[:, 0] != expected))).size:
            row = int(differ[0])
            raise ExportError(
                f"The model was not published: {route}: {probes.texts[row]!r} is {labels[row, 0]!r}, the live model "
                f"says {expected[row]!r}."
            )
        if finds_answers and (cosines := answers[f"{route}/1/{contract.SCORE}"][:, 0]).min() < 1 - _CLEAR:
            raise ExportError(
                f"The model was not published: {route}: {probes.texts[int(cosines.argmin())]!r}, a known text, has a "
                f"cosine of {cosines.min():.4f} to the text found for it instead of 1."
            )
