"""Prints what a dataset holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from beam_pipelines.contract import SPLITS, Feature
from beam_pipelines.reader import Dataset

if TYPE_CHECKING:
    from beam_pipelines.build import Built


def print_built(console: Console, built: Built) -> None:
    """Prints the outcome of a build as a table."""
    if built.skipped:
        console.print(f"[green]{built.path}[/] is up to date: same input files, same settings.")
        return
    console.print(_split_table(built.manifest))
    console.print(
        f"{built.manifest['items']['count']:,} items, {built.manifest['rejects']['total']:,} rejects"
    )
    for what, counts in (("rejected", built.manifest["rejects"]["by_reason"]), ("left out", built.left_out)):
        for reason, count in counts.items():
            if count:
                console.print(f"  {what} {count:>9,}  {reason}")
    console.print(f"Wrote [green]{built.path}[/]")


def print_dataset(console: Console, dataset: Dataset) -> None:
    """Prints a dataset's sizes and features."""
    manifest = dataset.manifest
    console.print(_split_table(manifest))
    console.print(f"{manifest['items']['count']:,} items, {manifest['rejects']['total']:,} rejects")
    for title, features in (("items", dataset.schema.items), ("sequences", dataset.schema.sequences)):
        console.print(_feature_table(title, features))


def _split_table(manifest: dict[str, Any]) -> Table:
    table = Table("split", title=f"{manifest['name']}, {manifest['protocol']}")
    for column in ("users", "events", "targets"):
        table.add_column(column, justify="right")
    for split in SPLITS:
        entry = manifest["splits"][split]
        table.add_row(split, *(f"{entry[key]:,}" for key in ("users", "events", "targets")))
    return table


def _feature_table(title: str, features: tuple[Feature, ...]) -> Table:
    table = Table("feature", "dtype", "shape", "role", "default", title=title)
    for feature in features:
        shape = "[" + ", ".join("*" if size is None else str(size) for size in feature.shape) + "]"
        default = "" if feature.default is None else repr(feature.default)
        table.add_row(feature.name, feature.dtype, shape.replace("[", r"\["), feature.role, default)
    return table
