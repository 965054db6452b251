"""`twotower train`: from a dataset directory to a finished run, resumable at any epoch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.callbacks import Checkpoints, ProgressBar, StopWhenDiverged, Validation, WarnOfCollapse
from trainer.checkpoint import load_checkpoint
from trainer.config import ProjectConfig, TrainConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.diagnostics import describe_items, top_item_share
from trainer.distribution.placement import Placement
from trainer.errors import DatasetError
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.input import steps_per_epoch, training_batches, training_windows
from trainer.keras_compat import keras
from trainer.lexical import LEXICAL
from trainer.model import TwoTowerModel
from trainer.model_card import write_model_card
from trainer.neighbours.blend import choose_blend, describe, load_blend, use_neighbours, write_blend
from trainer.neighbours.history_words import choose_history_words
from trainer.neighbours.table import NeighbourTable
from trainer.optimizers.make import make_optimizer
from trainer.projector import write_projector
from trainer.run import RunDirectory
from trainer.scoring import ModelScorer, encode_catalogue
from trainer.sequences import Sequences, load_sequences
from trainer.text_modes.training import Unfreeze, refresh_texts, settle_texts
from trainer.workbench import Workbench, encoder_fingerprint

_VALIDATION_METRICS = ("ndcg@10", "recall@10", "coverage@10")
_BLENDING_QUERIES = 8192
_VALIDATION_QUERIES = 2048  # enough to tell epochs apart; all of them are ranked by `twotower evaluate`


def train(
    config: ProjectConfig,
    split: str,
    console: Console,
    *,
    overwrite: bool = False,
    run: RunDirectory | None = None,
    watchers: Sequence[Any] = (),
) -> RunDirectory:
    """Trains on one split protocol, or goes on where an interrupted run stopped.

    Args:
        config: The configuration file.
        split: "leave_last_out" or "by_time".
        console: For progress.
        overwrite: Begin anew even if there is a run.
        run: Where to train; by default the run of the split.
        watchers: Keras callbacks that see every epoch after its checkpoint was written.

    Returns:
        The finished run.

    Raises:
        ConfigError: settings or the text encoder cannot be used.
        DatasetError: the dataset directory cannot be used.
        TrainingDivergedError: the loss became NaN or infinite, or exploded.
    """
    placement = Placement.of(config.train)
    dataset = DatasetDirectory.open(config.dataset_dir(split))
    run = run or RunDirectory(config.run_dir(split))
    identity = run_identity(config, dataset)
    began = time.monotonic()
    if not placement.writes:
        return run if run.is_done(identity) and not overwrite else _help(config, dataset, run, placement)
    if not run.begin(identity, overwrite):
        console.print(
            f"{run.path} is up to date: same data, settings and encoder. Use --overwrite to train again."
        )
        return run
    with placement.strategy.scope():
        bench = Workbench.open(config, dataset, console, precision=config.train.precision)
        state = _fit(config.train, bench, run, run.last, console, placement, watchers)
    manifest = {
        "identity": identity,
        "finished": True,
        "twotower_version": version("twotower"),
        "settings": config.train.model_dump(mode="json"),
        "dataset_digest": dataset.digest,
        "encoder_digest": bench.encoder_digest,
        "best_epoch": state["best_epoch"] + 1,
        "epochs": state["epoch"] + 1,
        "validation": state["history"][state["best_epoch"]],
        "seconds": round(time.monotonic() - began, 1),
    }
    _describe(config, bench, run, manifest, console)
    run.write_manifest(manifest)
    best = state["history"][state["best_epoch"]]
    console.print(
        f"Best epoch {state['best_epoch'] + 1}: validation NDCG@10 {best['val_ndcg@10']:.4f}. Run: {run.path}"
    )
    return run


def run_identity(config: ProjectConfig, dataset: DatasetDirectory) -> str:
    """Equal identities: training again would give the same model."""
    return digest_of(config.train, dataset.digest, encoder_fingerprint(config.encoder()))


def _describe(
    config: ProjectConfig, bench: Workbench, run: RunDirectory, manifest: dict[str, Any], console: Console
) -> None:
    """Chooses the order of candidates; writes the model card, and the best epoch's item vectors for TensorBoard."""
    load_best(bench.model, config.train, run, console)
    if config.train.ranking.blend and config.train.ranking.weight:
        _blend(config.train, bench, run, console)
    catalogue = bench.preparation.catalogue
    columns = {"item_id": catalogue.item_ids, "title": catalogue.titles, "events": catalogue.counts.tolist()}
    write_projector(run.logs, bench.model.learned(encode_catalogue(bench.model)).numpy(), columns)
    write_model_card(run, config, bench.dataset, manifest)


def _blend(config: TrainConfig, bench: Workbench, run: RunDirectory, console: Console) -> None:
    """Chooses how much each opinion counts, by more validation events than the epochs were compared by."""
    model, catalogue = bench.model, bench.preparation.catalogue
    sequences, queries = _validation_queries(bench, config, _BLENDING_QUERIES)
    if model.sketch is not None:
        retrieval = ModelScorer(model, bench.preparation, sequences, queries, rerank=False)
        sketches = model.known_catalogue.inputs[LEXICAL].numpy()
        with console.status("Weighing the words of histories ..."):
            model.blend = choose_history_words(
                model, retrieval, queries, sketches, exclude_history=retrieval.exclude_history
            )
    table = None
    if config.ranking.neighbours and catalogue.trained > 1:
        with console.status(f"Finding neighbours of {catalogue.trained:,} items ..."):
            table = NeighbourTable.learned(
                bench.train.items, bench.train.row_splits, catalogue.trained, config.ranking.neighbours
            )
        use_neighbours(model, table)
    scorer = ModelScorer(model, bench.preparation, sequences, queries, rerank=True)
    model.blend, figures = choose_blend(model, scorer, queries)
    run.neighbours_file.unlink(missing_ok=True)
    if table is not None and model.blend.neighbours:
        table.save(run.neighbours_file)
    write_blend(run, model.blend, figures)
    console.print(describe(model.blend, figures))


def _help(
    config: ProjectConfig, dataset: DatasetDirectory, run: RunDirectory, placement: Placement
) -> RunDirectory:
    """What a process does that is not the first of its cluster: the same steps, none of the files."""
    quiet = Console(quiet=True)
    with placement.strategy.scope(), tempfile.TemporaryDirectory() as folder:
        # Making variables waits for the first process, which has the run's directory ready by then.
        bench = Workbench.open(config, dataset, quiet, precision=config.train.precision)
        _fit(config.train, bench, RunDirectory(Path(folder)), run.last, quiet, placement)
    return run


def _fit(
    config: TrainConfig,
    bench: Workbench,
    run: RunDirectory,
    begin_from: Path,
    console: Console,
    placement: Placement,
    watchers: Sequence[Any] = (),
) -> dict[str, Any]:
    windows = training_windows(bench.train, config)
    if not windows.predicted.any():
        raise DatasetError(f"{bench.dataset.path}: the training split has no event to predict.")
    model, steps = bench.model, steps_per_epoch(windows, config)
    optimizer = make_optimizer(config, steps)
    model.compile(optimizer=optimizer, jit_compile=config.jit_compile)
    optimizer.build(model.trainable_variables)
    if model.text_tower is not None:
        model.text_tower.compile(steps)
    variables = _kept(model, optimizer)
    state = load_checkpoint(begin_from, variables) if begin_from.exists() else {}
    first = state.get("epoch", -1) + 1
    checkpoints = Checkpoints(run, variables, config.patience, state, counted_from=config.text.unfreeze_after)
    if first:
        console.print(f"Going on after epoch {first} of an interrupted run.")
    if first < config.epochs and not (first and checkpoints.exhausted):
        progress = ProgressBar(console, config.epochs, steps, first)
        callbacks = [
            Unfreeze(config.text.unfreeze_after, console),
            Validation(_validation(bench, config, console)),
            StopWhenDiverged(),
            WarnOfCollapse(console),
            checkpoints,
            keras.callbacks.TensorBoard(str(run.logs), write_graph=False, update_freq="epoch"),
            progress,
            *watchers,
        ]
        batches = training_batches(bench.preparation, bench.train, windows, config, first, placement.part)
        try:
            placement.fit(model, batches, first_epoch=first, steps=steps, callbacks=callbacks)
        finally:
            progress.close()
    return checkpoints.state


def _kept(model: TwoTowerModel, optimizer: Any) -> list[Any]:
    """All variables that a run needs to go on, in a fixed order."""
    texts = model.text_tower.variables if model.text_tower is not None else ()
    return [*model.variables, *optimizer.variables, *texts]


def _validation(bench: Workbench, config: TrainConfig, console: Console) -> Any:
    """Measures retrieval and ranking on validation events."""
    sequences, queries = _validation_queries(bench, config, _VALIDATION_QUERIES)
    scorers = {
        prefix: ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=rerank)
        for prefix, rerank in (("val_", False), ("val_ranked_", True))
    }

    def measure() -> dict[str, float]:
        refresh_texts(bench.model, console)
        vectors = encode_catalogue(bench.model)
        figures = describe_items(bench.model.learned(vectors).numpy())
        for prefix, scorer in scorers.items():
            scorer.refresh(vectors)
            result = evaluate(queries, scorer, (10,), scorer.exclude_history)
            figures |= {f"{prefix}{name}": result.metrics[name] for name in _VALIDATION_METRICS}
            figures[f"{prefix}top_item_share@10"] = top_item_share(result.exposure, len(queries))
        return figures

    return measure


def _validation_queries(
    bench: Workbench, config: TrainConfig, size: int
) -> tuple[Sequences, EvaluationQueries]:
    """At most so many validation events, and the sequences that they are of."""
    sequences = load_sequences(bench.dataset, "validation", bench.preparation.catalogue)
    queries = queries_of(sequences).sample(size, config.seed)
    if not len(queries):
        raise DatasetError(
            f"{bench.dataset.path}: the validation split has no event whose item is in the catalogue."
        )
    return sequences, queries


def queries_of(sequences: Sequences) -> EvaluationQueries:
    """Every event of a split that is a target, with the events before it."""
    return EvaluationQueries.from_sequences(sequences.items, sequences.row_splits, sequences.target_start)


def load_best(
    model: TwoTowerModel, config: TrainConfig, run: RunDirectory, console: Console | None = None
) -> None:
    """Puts the weights of the best epoch into a model of the same settings, and into its text encoder if that learned.

    Args:
        model: As `Workbench.open` makes it.
        config: Of the training.
        run: A finished one.
        console: For progress where texts are encoded anew.

    Raises:
        RunError: the run's checkpoint does not fit.
    """
    optimizer = make_optimizer(config, 1)
    optimizer.build(model.trainable_variables)
    if model.text_tower is not None:
        model.text_tower.compile(1)
    load_checkpoint(run.best, _kept(model, optimizer))
    load_blend(model, run)
    settle_texts(model, console or Console(quiet=True))
