"""Labels of texts told by a recommender's own text tower: a dense layer on its vectors, exported beside `recommend`."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.errors import ConfigError, DatasetError, RunError
from trainer.evaluation.files import write_bytes
from trainer.intent.config import IntentConfig
from trainer.intent.labelled import numbers_of, read_labelled, split_by_label
from trainer.intent.report import classification_report, print_classification
from trainer.intent.vectors import Floats, class_means, unit
from trainer.keras_compat import keras
from trainer.run import RunDirectory, write_json
from trainer.text_encoder import TextEncoder
from trainer.training import load_best
from trainer.workbench import Workbench

_BATCH = 256  # texts encoded at once, and of a step


@dataclass(frozen=True)
class IntentHead:
    """A dense layer on text vectors of length 1.

    Attributes:
        kernel: float32 [E, C].
        bias: float32 [C].
        classes: [C] names.
        facts: What it was learned from, and validation figures.
    """

    kernel: Floats
    bias: Floats
    classes: tuple[str, ...]
    facts: dict[str, Any]

    @classmethod
    def load(cls, run: RunDirectory) -> IntentHead | None:
        """The head that was learned on a run's text tower; None without one."""
        file = run.intent_file
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                facts = json.loads(bytes(arrays["facts"]).decode())
                return cls(arrays["kernel"], arrays["bias"], tuple(facts["classes"]), facts)
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"Cannot read {file}: {error}. Train it again with --overwrite.") from error

    def save(self, run: RunDirectory) -> None:
        """Writes it into the run, at once."""
        facts = np.frombuffer(json.dumps(self.facts | {"classes": self.classes}).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, kernel=self.kernel, bias=self.bias, facts=facts)
        write_bytes(run.intent_file, buffer.getvalue())

    def most_likely(self, vectors: Floats) -> npt.NDArray[np.int64]:
        """int64 [N] classes of float32 [N, E] text vectors."""
        return np.asarray(np.argmax(unit(vectors) @ self.kernel + self.bias, axis=1))


def train(
    config: ProjectConfig, split: str, intent: IntentConfig, console: Console, *, overwrite: bool = False
) -> IntentHead:
    """Learns the labels on top of a finished recommender, whose own weights stay as they are.

    Args:
        config: The recommender.
        split: Whose run.
        intent: The labelled texts and how the dense layer is learned.
        console: For progress.
        overwrite: Learn again what is up to date.

    Raises:
        ConfigError: the recommender reads no texts.
        DatasetError: the labelled file cannot be used.
        RunError: there is no finished run.
    """
    run = RunDirectory(config.run_dir(split))
    texts = read_labelled(intent.train, intent.text_column, intent.label_column)
    settings = intent.model_dump(
        mode="json", exclude={"train", "test", "encoder", "answers", "answer_column"}
    )
    identity = digest_of(settings, texts.digest(), run.finished()["identity"])
    head = IntentHead.load(run)
    if head is not None and head.facts["identity"] == identity and not overwrite:
        console.print(f"{run.intent_file} is up to date: same texts, settings and run.")
        return head
    vectors = unit(_encoder(config, split, console).encode_all(texts.texts, _BATCH))
    classes = texts.classes()
    labels = numbers_of(texts.labels, classes, intent.train)
    learn, held = split_by_label(texts.labels, intent.validation_share, intent.seed)
    report = None
    if len(held):
        chosen = fit_head(vectors[learn], labels[learn], classes, intent)
        report = classification_report(classes, labels[held], chosen.most_likely(vectors[held]))
    figures = {name: report[name] for name in ("accuracy", "macro_f1")} if report else {}
    fitted = fit_head(vectors, labels, classes, intent)
    head = IntentHead(
        fitted.kernel,
        fitted.bias,
        classes,
        {"identity": identity, "texts": len(texts), "validation": figures},
    )
    head.save(run)
    said = f" Validation accuracy {figures['accuracy']:.4f}, then learned from all." if figures else ""
    console.print(f"{len(texts):,} texts, {len(classes)} labels.{said} Written: {run.intent_file}")
    return head


def evaluate(config: ProjectConfig, split: str, intent: IntentConfig, console: Console) -> dict[str, Any]:
    """Classifies the test file, prints and writes the classification report.

    Raises:
        DatasetError: there is no test file, or it cannot be used.
        RunError: there is no head.
    """
    if intent.test is None:
        raise DatasetError(
            "There is nothing to evaluate on: set intent.test to a CSV file of labelled texts."
        )
    run = RunDirectory(config.run_dir(split))
    run.finished()
    if (head := IntentHead.load(run)) is None:
        raise RunError(f"There is no {run.intent_file}. Run `twotower train --task intent` first.")
    texts = read_labelled(intent.test, intent.text_column, intent.label_column)
    labels = numbers_of(texts.labels, head.classes, intent.test)
    vectors = _encoder(config, split, console).encode_all(texts.texts, _BATCH)
    report = classification_report(head.classes, labels, head.most_likely(vectors))
    print_classification(report, console, str(intent.test))
    file = run.path.parent / "intent_evaluation.json"
    write_json(file, report)
    console.print(f"Written: {file}")
    return report


def _encoder(config: ProjectConfig, split: str, console: Console) -> TextEncoder:
    bench = Workbench.open(config, DatasetDirectory.open(config.dataset_dir(split)), console)
    load_best(bench.model, config.train, RunDirectory(config.run_dir(split)), console)
    if bench.encoder is None:
        raise ConfigError(
            'This recommender reads no texts, so intent.tower = "recommender" has nothing to stand on. Give its items '
            "a text and switch train.model.item.text or train.model.query_text on, or leave intent.tower out."
        )
    return bench.encoder


def fit_head(
    vectors: Floats, labels: npt.NDArray[np.int32], classes: Sequence[str], intent: IntentConfig
) -> IntentHead:
    """Softmax regression from the classes' mean vectors on."""
    keras.utils.set_random_seed(intent.seed)
    layer = keras.layers.Dense(len(classes))
    model = keras.Sequential([keras.Input((vectors.shape[1],)), layer])
    layer.kernel.assign(intent.scale * class_means(vectors, labels, len(classes)).T)
    steps = intent.epochs * -(-len(labels) // intent.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(10 * intent.head_learning_rate, steps)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=intent.weight_decay),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=intent.label_smoothing),
    )
    target = keras.utils.to_categorical(labels, len(classes))
    model.fit(vectors, target, batch_size=intent.batch_size, epochs=intent.epochs, verbose=0)
    return IntentHead(layer.kernel.numpy(), layer.bias.numpy(), tuple(classes), {})
