"""`twotower distill`. Importing this module loads no TensorFlow; running the command does."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from trainer.cli import user_errors


@click.command()
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--split", help="The run of this split is the teacher, instead of the first that the configuration lists."
)
@click.option("--layers", type=click.IntRange(1), help="Layers of the student, instead of distill.layers.")
@click.option("--overwrite", is_flag=True, help="Do it again even if the student is up to date.")
def distill(config: Path, split: str | None, layers: int | None, overwrite: bool) -> None:
    """Train a smaller text tower from the trained one on the texts of the catalogue.

    The student is left in <work_dir>/<split>/student/encoder, a folder in Hugging Face's layout that
    train.text.encoder takes; distillation.json beside it says what it lost and gained. An interrupted run goes on after
    its last epoch.
    """
    with user_errors():
        from trainer.config import load_config

        project = load_config(config)
        if layers is not None:
            changed = project.distill.model_copy(update={"layers": layers})
            project = project.model_copy(update={"distill": changed})
        from trainer.distill.distill import distill as run

        run(project, project.splits(split)[0], Console(), overwrite=overwrite)
