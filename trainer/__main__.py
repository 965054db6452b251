"""`python -m trainer`: the commands of this package."""

from __future__ import annotations

import click

from trainer.cli import evaluate, export, index, train

main = click.Group("trainer", {"train": train, "evaluate": evaluate, "export": export, "index": index})

if __name__ == "__main__":
    main(prog_name="python -m trainer")
