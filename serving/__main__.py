"""`python -m serving`: the commands of this package without the root command."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "serve": "serving.server.cli",
    "recommend": "serving.cli",
    "rank": "serving.cli",
    "similar": "serving.cli",
    "embed": "serving.cli",
    "status": "serving.cli",
    "ping": "serving.cli_load",
    "bench": "serving.cli_load",
}


class _Lazy(click.Group):
    """Imports a command's module only to run it: the client's need no TensorFlow, `serve` does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, f"See `python -m serving {name} --help`.") for name in _COMMANDS])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Serve two-tower models, and ask a server for recommendations."""


if __name__ == "__main__":
    main(prog_name="python -m serving")
