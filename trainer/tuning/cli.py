"""`twotower tune`. Importing this module loads neither TensorFlow nor Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from trainer.cli import CONFIG, ENCODER, SPLIT, each_split


@click.command()
@CONFIG
@SPLIT
@ENCODER
@click.option("--trials", type=click.IntRange(1), help="Trainings in all, instead of tune.trials.")
@click.option("--overwrite", is_flag=True, help="Forget what was tried before and begin anew.")
def tune(config: Path, split: str | None, encoder: str | None, trials: int | None, overwrite: bool) -> None:
    """Search settings of [train] in the ranges of [tune.space] of CONFIG, judged on validation events.

    Each trial is a training; bad ones are stopped early. The search can be killed and run again: it goes on after the
    last epoch. It leaves best.toml and trials.json in <work_dir>/<split>/tune and shows the best trials.
    """

    def work(project: Any, name: str, console: Console) -> None:
        from trainer.tuning.search import search

        search(project, name, console, trials=trials, overwrite=overwrite)

    each_split(config, encoder, split, work)
