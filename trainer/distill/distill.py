"""`twotower distill`: from a finished run to a student's folder and a report, resumable at any epoch."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from trainer.checkpoint import load_checkpoint
from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.distill.config import DistillConfig
from trainer.distill.distillation import Distillation, make_optimizer, training_batches
from trainer.distill.hugging_face import write_hugging_face
from trainer.distill.ranking import RankingTeacher
from trainer.distill.report import latency_figures, ndcg_figures, print_distillation, size_figures
from trainer.distill.student import make_student, spaced_layers
from trainer.distill.texts import distillation_texts, hold_out
from trainer.errors import ConfigError
from trainer.fitting import Schedule, fit_resumably
from trainer.keras_compat import keras
from trainer.packed_texts import PackedTexts
from trainer.run import RunDirectory, write_json
from trainer.text_cache import TextVectorCache
from trainer.text_encoder import TextEncoder
from trainer.training import load_best
from trainer.vector_agreement import cosine_figures
from trainer.workbench import Workbench

REPORT = "distillation.json"
ENCODER = "encoder"
_MONITORED = "val_cosine"
_BATCH = 256
_TIMED = 256

Rows = npt.NDArray[np.int64]


def distill(config: ProjectConfig, split: str, console: Console, *, overwrite: bool = False) -> Path:
    """Trains a student of the text tower of a finished run, or goes on where an interrupted run stopped.

    Args:
        config: The configuration file.
        split: Whose run is the teacher.
        console: For progress.
        overwrite: Begin anew even if the student is up to date.

    Returns:
        The folder of the student, a text encoder that `train.text.encoder` takes.

    Raises:
        ConfigError: the model has no text tower, or the student would be no smaller.
        DatasetError: there are no texts.
        RunError: there is no finished training run.
        TrainingDivergedError: the loss became NaN or infinite.
    """
    teacher_run = RunDirectory(config.run_dir(split))
    identity = digest_of(config.distill, teacher_run.finished()["identity"])
    run = RunDirectory(config.work_dir / split / "student")
    began = time.monotonic()
    known = None if overwrite else run.manifest()
    if known is not None and known["identity"] == identity and known.get("finished"):
        console.print(f"{run.path} is up to date: same run and settings. Use --overwrite to distill again.")
        return run.path / ENCODER
    bench = Workbench.open(config, DatasetDirectory.open(config.dataset_dir(split)), console)
    if bench.encoder is None:
        raise ConfigError("There is nothing to distill: neither items nor queries of this model have text.")
    teacher_layers = len(bench.encoder.backbone.transformer_layers)
    spaced_layers(teacher_layers, config.distill.layers)  # refuses before anything is removed
    run.begin(identity, overwrite, task="distill")
    load_best(bench.model, config.train, teacher_run)
    student, held, teacher_vectors, state = _fit(config, bench, bench.encoder, run, console)
    report = _report(config, bench, student, held, teacher_vectors)
    write_hugging_face(student, run.path / ENCODER)
    write_json(run.path / REPORT, report)
    run.write_manifest(
        {
            "identity": identity,
            "task": "distill",
            "finished": True,
            "settings": config.distill.model_dump(mode="json"),
            "teacher_digest": bench.encoder.digest(),
            "student_digest": student.digest(),
            "twotower_version": version("twotower"),
            "best_epoch": state["best_epoch"] + 1,
            "epochs": state["epoch"] + 1,
            "seconds": round(time.monotonic() - began, 1),
        }
    )
    print_distillation(report, console)
    console.print(
        f'Student: set train.text.encoder = "{run.path / ENCODER}" and train again. Report: {run.path / REPORT}'
    )
    return run.path / ENCODER


def _fit(
    project: ProjectConfig, bench: Workbench, teacher: TextEncoder, run: RunDirectory, console: Console
) -> tuple[TextEncoder, list[str], npt.NDArray[np.float32], dict[str, Any]]:
    """The student with its best weights, the held-out texts with the teacher's vectors, and the loop's state."""
    config = project.distill
    keras.utils.set_random_seed(config.seed)
    texts = distillation_texts(bench, project.train)
    learn, held = hold_out(len(texts), config.validation_share, config.seed)
    vectors = _teacher_vectors(teacher, texts, project.train.text.batch_size, console)
    ranking = (
        RankingTeacher(bench.model, bench.preparation, config.ranking_list) if config.ranking_weight else None
    )
    student = make_student(teacher, config.layers)
    model = Distillation(config, student, ranking)
    pieces = PackedTexts.tokenized(texts, teacher)
    console.print(
        f"{len(learn):,} texts to learn from, {len(held):,} held out; a student of {config.layers} layers, "
        f"the teacher has {len(teacher.backbone.transformer_layers)}."
    )
    lists = ranking.lists(vectors) if ranking else None

    def batches(first: int) -> Any:
        return training_batches(pieces, learn, vectors, lists, config, first)

    def measure() -> dict[str, float]:
        return {_MONITORED: cosine_figures(student_vectors(model, pieces, held), vectors[held])["mean"]}

    state = _train(config, model, -(-len(learn) // config.batch_size), batches, measure, run, console)
    student.take_weights()
    return student, [texts[row] for row in held], vectors[held], state


def _teacher_vectors(
    teacher: TextEncoder, texts: list[str], batch_size: int, console: Console
) -> npt.NDArray[np.float32]:
    cache = TextVectorCache(teacher, batch_size=batch_size)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("encoding texts", total=len(cache.missing(texts)))
        return cache.vectors(texts, lambda done: bar.advance(task, done))


def _train(
    config: DistillConfig,
    model: Distillation,
    steps: int,
    batches: Any,
    measure: Any,
    run: RunDirectory,
    console: Console,
) -> dict[str, Any]:
    """Trains to the end and puts the weights of the best epoch into the model."""
    optimizer = make_optimizer(config, config.epochs * steps)
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    variables = [*model.backbone.weights, *optimizer.variables]
    state = fit_resumably(
        model,
        variables,
        run,
        batches,
        measure,
        console,
        Schedule(config.epochs, steps, config.patience, _MONITORED),
    )
    load_checkpoint(run.best, variables)
    return state


def student_vectors(model: Distillation, pieces: PackedTexts, rows: Rows) -> npt.NDArray[np.float32]:
    """float32 [M, E] of M rows of the tokenized texts."""
    parts = [
        model.vectors(*pieces.take(rows[start : start + _BATCH])).numpy()
        for start in range(0, len(rows), _BATCH)
    ]
    return np.concatenate(parts)


def _report(
    config: ProjectConfig,
    bench: Workbench,
    student: TextEncoder,
    held: list[str],
    teacher_vectors: npt.NDArray[np.float32],
) -> dict[str, Any]:
    assert bench.encoder is not None  # noqa: S101  distill has refused models without text
    batch = config.train.text.batch_size
    encoders = {"teacher": bench.encoder, "student": student}
    ndcg = ndcg_figures(bench, config.train, student)
    latency = latency_figures(encoders, held[:_TIMED])
    return {
        "texts": {"held_out": len(held)},
        "cosine_to_teacher": cosine_figures(student.encode_all(held, batch), teacher_vectors),
        **{
            name: {
                **{f"ndcg@10_{kind}": value for kind, value in ndcg[name].items()},
                **latency[name],
                **size_figures(encoder),
            }
            for name, encoder in encoders.items()
        },
    }
