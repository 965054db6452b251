"""Prints what a dataset holds."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from beam_pipelines.build import Built
from beam_pipelines.contract import SPLITS


def print_built(console: Console, built: Built) -> None:
    """Prints the outcome of a build as a table."""
    if built.skipped:
        console.print(
            f"[green]{built.path}[/] is up to date: same input files, same settings. (--overwrite rebuilds.)"
        )
        return
    manifest = built.manifest
    table = Table("split", "users", "events", "targets", title=f"{manifest['name']}, {manifest['protocol']}")
    for column in table.columns[1:]:
        column.justify = "right"
    for split in SPLITS:
        entry = manifest["splits"][split]
        table.add_row(split, *(f"{entry[key]:,}" for key in ("users", "events", "targets")))
    console.print(table)
    console.print(f"{manifest['items']['count']:,} items, {manifest['rejects']['total']:,} rejects")
    for what, counts in (("rejected", manifest["rejects"]["by_reason"]), ("left out", built.left_out)):
        for reason, count in counts.items():
            if count:
                console.print(f"  {what} {count:>9,}  {reason}")
    console.print(f"Wrote [green]{built.path}[/]")
