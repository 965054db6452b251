"""The plots of the HTML report, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.evaluation.embedding_map import EmbeddingMap
from trainer.evaluation.report import Report

_SIZE = (6.4, 3.6)
#: Text stays text, and the same figure gives the same bytes.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "twotower",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def accuracy_plot(report: Report) -> str:
    """NDCG and recall of every model at the first list length, with intervals."""
    size = report["settings"]["list_size"]
    metrics = (f"ndcg@{size}", f"recall@{size}")
    models = report["models"]

    def draw(figure: Any) -> None:
        for axes, metric in zip(figure.subplots(1, 2, sharey=True), metrics, strict=True):
            for place, model in enumerate(models):
                cell = model["metrics"][metric]
                error = [[cell["value"] - cell["low"]], [cell["high"] - cell["value"]]]
                axes.barh(place, cell["value"], xerr=error, color=_colour(place), capsize=2)
            axes.set_yticks(range(len(models)), [model["name"] for model in models])
            axes.set_title(metric)
            axes.grid(visible=False, axis="y")
        figure.axes[0].invert_yaxis()

    return _svg(draw)


def recall_curve_plot(report: Report) -> str:
    """Recall against the length of the list."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, model in enumerate(report["models"]):
            ks, values = zip(*model["recall_curve"], strict=True)
            axes.plot(ks, values, marker="o", markersize=3, color=_colour(place), label=model["name"])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("length of the list (k)")
        axes.set_ylabel("recall@k")
        axes.legend(frameon=False)

    return _svg(draw)


def slices_plot(report: Report, kind: str) -> str:
    """NDCG of every model in each slice of one kind ("item", "user" or "history"); "" with fewer than two."""
    metric, models = f"ndcg@{report['settings']['list_size']}", report["models"]
    names = [name for name in models[0]["slices"] if name.startswith(f"{kind}: ")]
    if len(names) < 2:
        return ""
    width = 0.8 / len(models)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, model in enumerate(models):
            cells = [model["slices"][name][metric] for name in names]
            values = np.array([cell["value"] for cell in cells])
            error = [values - [cell["low"] for cell in cells], [cell["high"] for cell in cells] - values]
            where = np.arange(len(names)) + (place - (len(models) - 1) / 2) * width
            axes.bar(
                where,
                values,
                width,
                yerr=np.maximum(error, 0),
                color=_colour(place),
                label=model["name"],
                capsize=1,
            )
        counts = [models[0]["slices"][name]["queries"] for name in names]
        labels = [f"{name.partition(': ')[2]}\n{count:,}" for name, count in zip(names, counts, strict=True)]
        axes.set_xticks(range(len(names)), labels)
        axes.set_ylabel(metric)
        axes.grid(visible=False, axis="x")
        axes.legend(frameon=False)

    return _svg(draw)


def training_plot(curves: Mapping[str, Sequence[float]]) -> str:
    """One small plot for each logged value, by epoch.

    Args:
        curves: By name, one number an epoch.
    """
    columns = 3
    rows = -(-len(curves) // columns)

    def draw(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (name, values) in zip(grid, curves.items(), strict=False):
            axes.plot(range(1, len(values) + 1), values, color=_colour(0))
            axes.set_title(name)
            axes.xaxis.get_major_locator().set_params(integer=True)  # epochs
        for axes in grid[len(curves) :]:
            axes.set_axis_off()

    return _svg(draw, (_SIZE[0] * 1.3, 1.8 * rows))


def map_plot(embedding_map: EmbeddingMap) -> str:
    """Items on the plane of the first two principal components, coloured by group."""
    groups = np.array(embedding_map.groups)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, name in enumerate(
            dict.fromkeys(sorted(embedding_map.groups, key=lambda g: (g == "other", g)))
        ):
            points = embedding_map.points[groups == name]
            axes.scatter(
                points[:, 0], points[:, 1], s=4, alpha=0.6, color=_colour(place), label=name or "items"
            )
        axes.set_title(f"{len(groups):,} items, {embedding_map.explained:.0%} of the variance")
        axes.legend(frameon=False, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))

    return _svg(draw, (_SIZE[0], 4.4))


def _colour(place: int) -> str:
    return f"C{place % 10}"


def _svg(draw: Any, size: tuple[float, float] = _SIZE) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]
