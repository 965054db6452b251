"""`python -m trainer`: the commands of this package."""

from __future__ import annotations

import click

from trainer.cli import evaluate, export, train

main = click.Group("trainer", {"train": train, "evaluate": evaluate, "export": export})

if __name__ == "__main__":
    main(prog_name="python -m trainer")
