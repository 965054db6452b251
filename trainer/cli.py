"""The commands of the trainer. Importing this module loads no TensorFlow; running a command does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

CONFIG = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
SPLIT = click.option("--split", help="Only this one of the splits that the configuration lists.")
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Do it again even if the result is up to date.")
ENCODER = click.option(
    "--encoder", help="Text encoder folder or KerasHub preset, instead of the configured one."
)

_TASK = click.option(
    "--task",
    type=click.Choice(["recommend", "intent"]),
    default="recommend",
    show_default=True,
    help="What is learned: recommendations, or the labels of texts ([intent] of CONFIG).",
)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turns our errors into one clear line, and an interruption into exit code 130."""
    from trainer.errors import TrainerError

    try:
        yield
    except TrainerError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Interrupted. Run the same command again to go on.", err=True)
        raise click.exceptions.Exit(130) from None


def _load(config: Path, encoder: str | None) -> Any:
    from trainer.config import load_config

    project = load_config(config)
    if encoder is None:
        return project
    text = project.train.text.model_copy(update={"encoder": encoder})
    return project.model_copy(update={"train": project.train.model_copy(update={"text": text})})


def each_split(
    config: Path, encoder: str | None, split: str | None, work: Callable[[Any, str, Console], Any]
) -> None:
    """Does some work for every split that is asked for; our errors become one clear line."""
    console = Console()
    with user_errors():
        project = _load(config, encoder)
        for name in project.splits(split):
            work(project, name, console)


@contextmanager
def _intent(config: Path, encoder: str | None, split: str | None) -> Iterator[tuple[Any, Console]]:
    """The project of `--task intent` and a console; our errors become one clear line."""
    if split is not None:
        raise click.UsageError("--split is for --task recommend: labelled texts have no split protocols.")
    with user_errors():
        from trainer.intent.project import load_intent_project

        project = load_intent_project(config)
        if encoder is not None:
            changed = project.intent.model_copy(update={"encoder": encoder})
            project = project.model_copy(update={"intent": changed})
        yield project, Console()


def _recommender(config: Path) -> tuple[Any, str]:
    """The project of the recommender whose text tower tells labels, and the split of its run."""
    project = _load(config, None)
    return project, project.splits(None)[0]


@click.command()
@CONFIG
@SPLIT
@ENCODER
@_TASK
@_OVERWRITE
@click.option(
    "--wandb",
    "wandb_project",
    metavar="PROJECT",
    help="Also log every epoch to this project of Weights & Biases, as its environment variables say.",
)
def train(
    config: Path,
    split: str | None,
    encoder: str | None,
    task: str,
    overwrite: bool,
    wandb_project: str | None,
) -> None:
    """Train the two-tower model described by CONFIG (a TOML file) on its dataset directories.

    An interrupted training goes on after its last epoch. The run is left in <work_dir>/<split>/model: checkpoints,
    history.json, model_card.md and TensorBoard logs with the item vectors; with --task intent in
    <work_dir>/intent/model.
    """
    if task == "intent" and wandb_project is not None:
        raise click.UsageError("--wandb is for --task recommend.")
    if task == "intent":
        with _intent(config, encoder, split) as (project, console):
            if project.intent.tower == "recommender":
                from trainer.intent.on_recommender import train as train_head

                train_head(*_recommender(config), project.intent, console, overwrite=overwrite)
                return
            from trainer.intent.training import train as train_intent

            train_intent(project, console, overwrite=overwrite)
        return

    def work(project: Any, name: str, console: Console) -> None:
        from trainer.training import train as run_training

        watchers = []
        if wandb_project is not None:
            from trainer.wandb_logger import WandbLogger

            watchers.append(WandbLogger(wandb_project, project, name))
        run_training(project, name, console, overwrite=overwrite, watchers=watchers)

    each_split(config, encoder, split, work)


@click.command()
@CONFIG
@SPLIT
@ENCODER
@_TASK
@_OVERWRITE
@click.option(
    "--against",
    type=click.Path(exists=True, path_type=Path),
    help="Another evaluation of the same test events (its file, folder or work_dir), for a paired test.",
)
def evaluate(
    config: Path, split: str | None, encoder: str | None, task: str, overwrite: bool, against: Path | None
) -> None:
    """Rank the whole catalogue for every test event: the trained model beside baselines.

    Prints tables and writes <work_dir>/<split>/evaluation.json, report.html beside it and the figures into the run's
    model_card.md. With --task intent: classify the texts of intent.test, print a classification report and write
    <work_dir>/intent/evaluation.json.
    """
    if task == "intent" and against is not None:
        raise click.UsageError("--against is for --task recommend.")
    if task == "intent":
        with _intent(config, encoder, split) as (project, console):
            if project.intent.tower == "recommender":
                from trainer.intent.on_recommender import evaluate as evaluate_head

                evaluate_head(*_recommender(config), project.intent, console)
                return
            from trainer.intent.training import evaluate as evaluate_intent

            evaluate_intent(project, console)
        return

    def work(project: Any, name: str, console: Console) -> None:
        from trainer.evaluating import evaluate_run

        evaluate_run(project, name, console, overwrite=overwrite, against=against)

    each_split(config, encoder, split, work)


@click.command()
@CONFIG
@click.option(
    "--split", help="Export the run of this split instead of the first one that the configuration lists."
)
@ENCODER
@_TASK
@_OVERWRITE
@click.option("--candidate", is_flag=True, help="Write it where no server looks, for `twotower promote`.")
@click.option("--check", is_flag=True, help="Write and check it, say what was found, and publish nothing.")
def export(
    config: Path,
    split: str | None,
    encoder: str | None,
    task: str,
    overwrite: bool,
    candidate: bool,
    check: bool,
) -> None:
    """Write the trained model as the next version of a SavedModel that TensorFlow Serving loads.

    The version appears as <export.directory>/<name>/<number> after its ops, signatures and answers have been checked;
    with --candidate as <export.directory>/<name>/candidates/<number>. With --check it is written and checked in the
    same way, what the linter found is shown, and nothing is published.
    """
    if task == "intent":
        if candidate:
            raise click.UsageError("--candidate is for --task recommend: promotion measures recommendations.")
        if check:
            raise click.UsageError("--check is for --task recommend; `twotower lint-model` checks any model.")
        with _intent(config, encoder, split) as (intent, shown):
            if intent.intent.tower == "recommender":
                raise click.UsageError(
                    "These labels are told by the recommender: leave --task out, and its export has them."
                )
            from trainer.intent.export import export as export_intent

            export_intent(intent, shown, overwrite=overwrite)
        return
    console = Console()
    with user_errors():
        project = _load(config, encoder)
        from trainer.export import export as write

        write(
            project, project.splits(split)[0], console, overwrite=overwrite, candidate=candidate, check=check
        )
