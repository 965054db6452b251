"""The evaluation report as one HTML file without scripts, links or downloads."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.evaluation import plots
from trainer.evaluation.examples import Example
from trainer.evaluation.extras import Extras
from trainer.evaluation.files import write_text
from trainer.evaluation.report import Report

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }}
th:first-child, td:first-child {{ text-align: left }}
.model {{ font-weight: bold }} .dim {{ color: #777; font-weight: normal }} .hit {{ background: #e7f4e4 }}
.lists {{ display: flex; gap: 2rem; flex-wrap: wrap }} .lists > div {{ flex: 1 1 14rem }}
svg {{ max-width: 100%; height: auto }}
</style></head><body>
"""
_BEYOND = ("coverage", "gini", "top_item_share", "novelty", "diversity")


def write_html_report(report: Report, path: Path, title: str) -> None:
    """Writes the page beside `path` and renames it.

    Args:
        report: What :func:`trainer.evaluation.report.build_report` returned, with extras if there are any.
        path: The file to write, such as `report.html`.
        title: The page's title, such as the data set and the protocol.
    """
    write_text(path, html_report(report, title))


def html_report(report: Report, title: str) -> str:
    """The page as text; see :func:`write_html_report`."""
    parts = [_HEAD.format(title=html.escape(title)), f"<h1>{html.escape(title)}</h1>", _summary(report)]
    parts += ["<h2>Accuracy</h2>", _accuracy_table(report), plots.accuracy_plot(report)]
    if all("other_protocol" in model for model in report["models"]):
        parts += [f"<h2>The same with items of the history {_history(report, other=True)}</h2>"]
        parts += [_accuracy_table(report, "other_protocol")]
    parts += ["<h2>Recall against the length of the list</h2>", plots.recall_curve_plot(report)]
    for kind, heading in (
        ("item", "By popularity of the wanted item"),
        ("history", "By length of the history"),
        ("user", "By user"),
    ):
        plot = plots.slices_plot(report, kind)
        parts += [f"<h2>{heading}</h2>", plot] if plot else []
    parts += ["<h2>Every slice</h2>", _slices_table(report)]
    parts += ["<h2>Lists beyond accuracy</h2>", _lists_table(report), _diagnostics(report)]
    if report["comparisons"]:
        parts += ["<h2>Differences</h2>", _comparison_table(report["comparisons"])]
    if against := report.get("against"):
        parts += ["<h2>Against another model</h2>", _comparison_table(against["comparisons"])]
    parts += _extra_parts(Extras.from_json(report.get("extras", {})))
    return "\n".join([*parts, "</body></html>\n"])


def _summary(report: Report) -> str:
    queries, settings = report["queries"], report["settings"]
    facts = " · ".join(f"{key} {value}" for key, value in report["run"].items())
    return (
        f"<p>{queries['count']:,} queries of {queries['users']:,} users, {queries['mean_history']:.1f} "
        f"events before each on average; all {report['catalogue']['items']:,} items ranked, items of the "
        f"history {_history(report)}, ties against the model. Bars and brackets: {settings['confidence']:.0%} "
        f"intervals by bootstrap over users.</p><p class='dim'>{html.escape(facts)}</p>"
    )


def _history(report: Report, *, other: bool = False) -> str:
    return (
        "left out of the ranking" if report["settings"]["exclude_history"] != other else "kept in the ranking"
    )


def _accuracy_table(report: Report, block: str = "metrics") -> str:
    names = [f"{metric}@{k}" for k in report["settings"]["ks"] for metric in ("recall", "ndcg", "mrr")]
    rows = []
    for model in report["models"]:
        cells = [_with_interval(model[block][name]) for name in names]
        rows.append((model["kind"], [html.escape(model["name"]), *cells]))
    return _table(["model", *names], rows)


def _slices_table(report: Report) -> str:
    size, models = report["settings"]["list_size"], report["models"]
    rows = [
        (
            "",
            [
                f"{html.escape(name)}<br><span class='dim'>{metric}</span>",
                f"{first['queries']:,}",
                *(_with_interval(model["slices"][name][metric]) for model in models),
            ],
        )
        for name, first in models[0]["slices"].items()
        for metric in (f"recall@{size}", f"ndcg@{size}")
    ]
    return _table(["slice", "queries", *(model["name"] for model in models)], rows)


def _with_interval(cell: Mapping[str, float]) -> str:
    return f"{cell['value']:.4f}<br><span class='dim'>[{cell['low']:.4f}, {cell['high']:.4f}]</span>"


def _diagnostics(report: Report) -> str:
    if not (found := report["diagnostics"]):
        return ""
    return (
        f"<p>The item vectors of the trained model use {found['item_effective_rank']:.1f} directions (effective "
        f"rank); they are {found['item_norm_mean']:.3g} long on average, {found['item_norm_max']:.3g} at most. A "
        "model whose vectors use two directions, or whose lists all hold one item (top_item_share), has "
        "collapsed.</p>"
    )


def _lists_table(report: Report) -> str:
    size = report["settings"]["list_size"]
    metrics = [f"{metric}@{size}" for metric in _BEYOND]
    shown = [name for name in metrics if all(name in model["metrics"] for model in report["models"])]
    rows = []
    for model in report["models"]:
        settings = ", ".join(f"{key} {value}" for key, value in model["settings"].items())
        values = [f"{model['metrics'][name]['value']:.3f}" for name in shown]
        seconds = f"{sum(model['seconds'].values()):.1f}"
        rows.append((model["kind"], [html.escape(model["name"]), *values, seconds, html.escape(settings)]))
    return _table(["model", *shown, "seconds", "settings"], rows)


def _comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            "",
            [
                html.escape(f"{row['first']} - {row['second']}"),
                row["metric"],
                f"{row['difference']:+.4f}",
                f"[{row['low']:+.4f}, {row['high']:+.4f}]",
                f"{row['p_value']:.4f}",
            ],
        )
        for row in comparisons
    ]
    return _table(["models", "metric", "difference", "interval", "p (paired randomization test)"], rows)


def _extra_parts(extras: Extras) -> list[str]:
    parts = []
    if extras.training_curves:
        parts += ["<h2>Training</h2>", plots.training_plot(extras.training_curves)]
    if extras.embedding_map is not None:
        parts += ["<h2>Item vectors</h2>", plots.map_plot(extras.embedding_map)]
    for heading, examples in (
        ("Lists that hit", extras.good_examples),
        ("Lists that missed", extras.bad_examples),
    ):
        if examples:
            parts += [f"<h2>{heading}</h2>", *(_example(example) for example in examples)]
    return parts


def _example(example: Example) -> str:
    columns: tuple[tuple[str, Iterable[str]], ...] = (
        ("History, oldest first", example.history),
        ("Recommended", example.shown),
    )
    lists = "".join(
        f"<div><b>{name}</b><ol>{''.join(_entry(title, example.wanted) for title in titles)}</ol></div>"
        for name, titles in columns
    )
    return f"<h3>{html.escape(example.wanted)}: rank {example.rank:,}</h3><div class='lists'>{lists}</div>"


def _entry(title: str, wanted: str) -> str:
    return f"<li{' class=hit' if title == wanted else ''}>{html.escape(title)}</li>"


def _table(header: Sequence[str], rows: Sequence[tuple[str, Sequence[Any]]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr class='{kind}'>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for kind, cells in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
