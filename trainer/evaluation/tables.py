"""The evaluation report on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from trainer.evaluation.report import Report

_BEYOND = ("coverage", "gini", "top_item_share", "novelty", "diversity")


def print_report(report: Report, console: Console, title: str = "") -> None:
    """Prints accuracy, lists, slices and comparisons of a report as tables."""
    queries, settings = report["queries"], report["settings"]
    places = ("left out", "kept in") if settings["exclude_history"] else ("kept in", "left out")
    console.print(
        f"{title + ': ' if title else ''}{queries['count']:,} queries of {queries['users']:,} users, "
        f"{report['catalogue']['items']:,} items ranked, items of the history {places[0]}"
    )
    console.print(accuracy_table(report))
    if all("other_protocol" in model for model in report["models"]):
        console.print(
            accuracy_table(report, "other_protocol", title=f"The same, items of the history {places[1]}")
        )
    console.print(lists_table(report))
    console.print(slices_table(report))
    if report["comparisons"]:
        console.print(comparison_table(report["comparisons"]))
    if against := report.get("against"):
        console.print(comparison_table(against["comparisons"], title=f"Against {against['file']}"))


def accuracy_table(report: Report, block: str = "metrics", title: str = "Accuracy") -> Table:
    """One row a model: recall, NDCG and MRR at every k, with half the width of the interval.

    Args:
        report: The report.
        block: Where each model's figures are: "metrics" or "other_protocol".
        title: Above the table.
    """
    names = [f"{metric}@{k}" for k in report["settings"]["ks"] for metric in ("recall", "ndcg", "mrr")]
    table = Table(title=f"{title} (± = {report['settings']['confidence']:.0%} interval by user)")
    table.add_column("model")
    for name in names:
        table.add_column(_label(name), justify="right")
    for model in report["models"]:
        style = "bold" if model["kind"] == "model" else None
        table.add_row(model["name"], *(_with_interval(model[block][name]) for name in names), style=style)
    return table


def lists_table(report: Report) -> Table:
    """One row a model: what its lists are like beyond accuracy, and how long it took."""
    size = report["settings"]["list_size"]
    names = [f"{metric}@{size}" for metric in _BEYOND]
    shown = [name for name in names if all(name in model["metrics"] for model in report["models"])]
    table = Table(title=f"Lists of {size} (novelty in bits)")
    table.add_column("model")
    for name in shown:
        table.add_column(_label(name), justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("settings")
    for model in report["models"]:
        values = (f"{model['metrics'][name]['value']:.3f}" for name in shown)
        chosen = ", ".join(f"{key} {value}" for key, value in model["settings"].items())
        table.add_row(model["name"], *values, f"{sum(model['seconds'].values()):.1f}", chosen)
    return table


def slices_table(report: Report) -> Table:
    """One row a slice: NDCG of every model."""
    metric = f"ndcg@{report['settings']['list_size']}"
    table = Table(title=f"{_label(metric)} by slice")
    table.add_column("slice")
    table.add_column("queries", justify="right")
    for model in report["models"]:
        table.add_column(model["name"], justify="right")
    for name, values in report["models"][0]["slices"].items():
        cells = (f"{model['slices'][name][metric]['value']:.4f}" for model in report["models"])
        table.add_row(name, f"{values['queries']:,}", *cells)
    return table


def comparison_table(
    comparisons: Sequence[Mapping[str, Any]], title: str = "Differences (paired, by user)"
) -> Table:
    """One row a comparison: difference, interval, p-value."""
    table = Table(title=title)
    for column in ("models", "metric"):
        table.add_column(column)
    for column in ("difference", "interval", "p"):
        table.add_column(column, justify="right")
    for row in comparisons:
        table.add_row(
            f"{row['first']} - {row['second']}",
            _label(row["metric"]),
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} ... {row['high']:+.4f}",
            f"{row['p_value']:.4f}",
        )
    return table


def _label(metric: str) -> str:
    name, _, k = metric.partition("@")
    shown = name.upper() if name in ("ndcg", "mrr") else name.replace("_", " ").capitalize()
    return f"{shown}@{k}"


def _with_interval(cell: Mapping[str, Any]) -> str:
    return f"{cell['value']:.4f} ±{(cell['high'] - cell['low']) / 2:.3f}"
