"""Writes docs/cli.md, the reference of the command line, from what every command says with --help.

python scripts/cli_reference.py            writes it
python scripts/cli_reference.py --check    exits with 1 if the file says anything else
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "cli.md"
HEAD = """# Command line

Every command with its options, as `--help` prints them. Made by `python scripts/cli_reference.py`; `make docs`
fails when it is out of date.
"""
WIDTH = 100


def commands(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, depth first, in the order in which `--help` lists them."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from commands(below, (*path, name))


def help_of(command: click.Command, path: tuple[str, ...]) -> str:
    """What the command prints with --help, at a width of its own."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=" ".join(path), **settings)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def reference() -> str:
    """The whole of docs/cli.md."""
    sys.path.insert(0, str(ROOT))
    from twotower import main

    sections = [
        f"{'#' * min(len(path) + 1, 3)} {' '.join(path)}\n\n```text\n{help_of(command, path)}\n```\n"
        for path, command in commands(main, ("twotower",))
    ]
    return "\n".join([HEAD, *sections])


@click.command()
@click.option("--check", is_flag=True, help="Compare instead of writing.")
def write(check: bool) -> None:
    """Write docs/cli.md, or compare it with the commands."""
    wanted = reference()
    if not check:
        REFERENCE.write_text(wanted, encoding="utf-8")
        click.echo(f"Wrote {REFERENCE.relative_to(ROOT)}.")
    elif not REFERENCE.is_file() or REFERENCE.read_text("utf-8") != wanted:
        raise click.ClickException(
            f"{REFERENCE.relative_to(ROOT)} is not what the commands say. "
            "Write it anew: python scripts/cli_reference.py"
        )


if __name__ == "__main__":
    write()
