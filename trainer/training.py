"""`twotower train`: from a dataset directory to a finished run, resumable at any epoch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.callbacks import WarnOfCollapse
from trainer.checkpoint import load_checkpoint
from trainer.config import ProjectConfig, TrainConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.distribution.placement import Placement
from trainer.errors import DatasetError
from trainer.fitting import Schedule, fit_resumably
from trainer.input import steps_per_epoch, training_batches, training_windows
from trainer.model import TwoTowerModel
from trainer.model_card import write_model_card
from trainer.neighbours.blend import load_blend
from trainer.neighbours.weighing import weigh_opinions
from trainer.optimizers.make import make_optimizer
from trainer.projector import write_projector
from trainer.run import RunDirectory
from trainer.scoring import encode_catalogue
from trainer.text_modes.training import Unfreeze, settle_texts
from trainer.validation import epoch_figures
from trainer.workbench import Workbench, encoder_fingerprint


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
        weigh_opinions(config.train, bench, run, console)
    catalogue = bench.preparation.catalogue
    columns = {"item_id": catalogue.item_ids, "title": catalogue.titles, "events": catalogue.counts.tolist()}
    write_projector(run.logs, bench.model.learned(encode_catalogue(bench.model)).numpy(), columns)
    write_model_card(run, config, bench.dataset, manifest)


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
    return fit_resumably(
        model,
        _kept(model, optimizer),
        run,
        lambda first: training_batches(
            bench.preparation, bench.train, windows, config, first, placement.part
        ),
        epoch_figures(bench, config, console),
        console,
        Schedule(config.epochs, steps, config.patience, patience_from=config.text.unfreeze_after),
        begin_from=begin_from,
        callbacks=[Unfreeze(config.text.unfreeze_after, console), WarnOfCollapse(console), *watchers],
        loop=placement.fit,
    )


def _kept(model: TwoTowerModel, optimizer: Any) -> list[Any]:
    """All variables that a run needs to go on, in a fixed order."""
    texts = model.text_tower.variables if model.text_tower is not None else ()
    return [*model.variables, *optimizer.variables, *texts]


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
