"""`twotower lint-model`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from trainer.lint.findings import Finding
from trainer.lint.lint import lint
from trainer.lint.ops import releases
from trainer.lint.saved_model import SAVED_MODEL_FILE, graph_file

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.command("lint-model")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--serving",
    default=releases()[-1],
    show_default=True,
    type=click.Choice(releases()),
    help="The release of TensorFlow Serving that will load the model.",
)
@click.option(
    "--server-op",
    "server_ops",
    multiple=True,
    help="An op that the server has beside those of its release; NAME> stands for all of a namespace, such as Scann>.",
)
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON list.")
def lint_model(
    directory: Path, serving: str, server_ops: tuple[str, ...], strict: bool, as_json: bool
) -> None:
    """Check whether a stock TensorFlow Serving loads and batches a SavedModel.

    DIRECTORY is any SavedModel, not only one of `twotower export`, or holds versions of a model, of which the newest
    is checked. Exits with 1 if there is an error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # machines without a GPU need not hear about it
    folder = _newest_version(directory)
    try:
        findings = lint(folder, serving, server_ops)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        show_findings(str(folder), serving, findings, Console())
    failing = {"error", "warning"} if strict else {"error"}
    if any(finding.severity in failing for finding in findings):
        raise SystemExit(1)


def _newest_version(directory: Path) -> Path:
    if graph_file(directory) is not None:
        return directory
    versions = [child for child in directory.iterdir() if child.name.isdecimal() and child.is_dir()]
    if not versions:
        raise click.ClickException(
            f"{directory} holds neither {SAVED_MODEL_FILE} nor a version of a model, "
            "which is a folder named by a number"
        )
    return max(versions, key=lambda child: int(child.name))


def show_findings(name: str, serving: str, findings: list[Finding], console: Console) -> None:
    """Prints findings as a table, and how many there are of each kind.

    Args:
        name: The model's, for the title.
        serving: The release of TensorFlow Serving that it was checked for.
        findings: What `lint` found.
        console: Where to print.
    """
    if findings:
        table = Table(title=f"{name} on TensorFlow Serving {serving}", show_lines=True)
        for column in ("severity", "check", "where", "what"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(
                f"[{_STYLES[finding.severity]}]{finding.severity}[/]",
                finding.check,
                finding.where,
                finding.message,
            )
        console.print(table)
    counts = {kind: sum(finding.severity == kind for finding in findings) for kind in _STYLES}
    console.print(", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items()))
