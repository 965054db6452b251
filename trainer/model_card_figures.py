"""The parts of a model card that an evaluation fills: test figures beside baselines, and limits that they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.evaluation.report import Report


def figures(report: Report | None) -> Iterator[str]:
    """Test figures with intervals, one row a model; a hint where nothing was measured yet."""
    yield "## Test figures"
    yield ""
    if report is None:
        yield "Not measured yet: `twotower evaluate` fills this part in."
        return
    settings, queries = report["settings"], report["queries"]
    yield (
        f"{queries['count']:,} queries of {queries['users']:,} users, all {report['catalogue']['items']:,} items "
        f"ranked; {settings['confidence']:.0%} intervals by bootstrap over users."
    )
    blocks = [("metrics", settings["exclude_history"])]
    if all("other_protocol" in model for model in report["models"]):
        blocks.append(("other_protocol", not settings["exclude_history"]))
    for block, excluded in blocks:
        yield ""
        yield f"Items of the history {'left out of' if excluded else 'kept in'} the ranking:"
        yield ""
        yield from _accuracy(report, block)
    yield ""
    yield from _slices(report)


def limits(report: Report | None) -> Iterator[str]:
    """What holds for every such model, and what this evaluation shows."""
    yield "- It learns what users took, not what they would have taken had it been shown: popular items get more."
    yield "- An item without training events is known by its text and features alone, a new user by free text alone."
    yield "- Texts longer than the encoder reads and histories longer than the Transformer reads are cut."
    yield "- Users and items of groups that the data does not name were not measured apart."
    if report is None:
        return
    size, first = report["settings"]["list_size"], report["models"][0]
    lists = first["metrics"]
    yield (
        f"- Its lists of {size} show {lists[f'coverage@{size}']['value']:.1%} of the catalogue; exposure has a Gini "
        f"coefficient of {lists[f'gini@{size}']['value']:.2f} (1 = one item takes all)."
    )
    if dropped := report["queries"]["dropped_targets"]:
        yield f"- {dropped:,} test events were of items outside the catalogue and are in no figure."
    for name in ("item: tail", "item: cold", "user: cold"):
        if cell := first["slices"].get(name):
            yield (
                f"- {name}: NDCG@{size} {_interval(cell[f'ndcg@{size}'])} on {cell['queries']:,} queries, against "
                f"{lists[f'ndcg@{size}']['value']:.4f} on all."
            )


def _accuracy(report: Report, block: str) -> Iterator[str]:
    names = [f"{metric}@{k}" for k in report["settings"]["ks"] for metric in ("recall", "ndcg", "mrr")]
    yield f"| model | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for model in report["models"]:
        cells = " | ".join(_interval(model[block][name]) for name in names)
        yield f"| {model['name']} | {cells} |"


def _slices(report: Report) -> Iterator[str]:
    metric, models = f"ndcg@{report['settings']['list_size']}", report["models"]
    yield f"| {metric} | queries | {' | '.join(model['name'] for model in models)} |"
    yield "|---" * (len(models) + 2) + "|"
    for name, first in models[0]["slices"].items():
        cells = " | ".join(_interval(model["slices"][name][metric]) for model in models)
        yield f"| {name} | {first['queries']:,} | {cells} |"


def _interval(cell: Mapping[str, Any]) -> str:
    return f"{cell['value']:.4f} [{cell['low']:.4f}, {cell['high']:.4f}]"
