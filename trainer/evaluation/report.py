"""The evaluation report: what was asked, how every model did, and how sure that is.

The report is a plain JSON object, so that it can be kept beside a model, compared later and drawn by others::

    {"format": "twotower-evaluation", "version": 2,
     "run": {...},                                   what the caller adds: data set, protocol, digests
     "queries": {"count", "users", "dropped_targets", "mean_history"},
     "catalogue": {"items", "with_training_events"},
     "settings": {"ks", "list_size", "exclude_history", "confidence", "seed"},
     "models": [{"name", "kind", "settings", "seconds",
                 "metrics": {"ndcg@10": {"value", "low", "high"}, "coverage@10": {"value"}, ...},
                 "recall_curve": [[1, 0.03], [2, 0.05], ...],
                 "slices": {"item: head": {"queries", "recall@10": {"value", "low", "high"}, ...}, ...},
                 "other_protocol": {"ndcg@10": {"value", "low", "high"}, ...}}],       where it was measured
     "comparisons": [{"first", "second", "metric", "difference", "low", "high", "p_value"}],
     "diagnostics": {"item_effective_rank", "item_norm_mean", "item_norm_max"},     of the trained model
     "against": {"file", "name", "comparisons"},               another evaluation, see `evaluation/against.py`
     "extras": {...}}                                          what the page shows besides, see `evaluation/extras.py`

The rows of `models` were all measured on the same queries in the same run, the trained model first.
`other_protocol` holds accuracy with items of the history treated the other way than `exclude_history` says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainer.evaluation.files import write_text
from trainer.evaluation.intervals import bootstrap_intervals, paired_comparison
from trainer.evaluation.metrics import FloatArray, accuracy_values, recall
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import EvaluationResult
from trainer.evaluation.slices import all_slices

FORMAT, VERSION = "twotower-evaluation", 2
CONFIDENCE = 0.95
#: List lengths of the recall curve, as far as the catalogue goes.
CURVE = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)

Report = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One row of the report.

    Attributes:
        name: How the row is called; unique in a report.
        result: What :func:`trainer.evaluation.ranking.evaluate` returned.
        kind: Whether this is the trained model or something to compare it with.
        settings: What was chosen for it, JSON-serializable.
        seconds: Wall-clock seconds by stage, such as ``{"tune": 12.1, "evaluate": 0.4}``.
        other_protocol: The result with items of the history treated the other way, if it was measured.
    """

    name: str
    result: EvaluationResult
    kind: Literal["model", "baseline"] = "baseline"
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    other_protocol: EvaluationResult | None = None


def build_report(
    queries: EvaluationQueries,
    rows: Sequence[Measured],
    training_counts: npt.NDArray[np.integer],
    *,
    run: Mapping[str, object] | None = None,
    diagnostics: Mapping[str, float] | None = None,
    exclude_history: bool = True,
    seed: int = 0,
) -> Report:
    """Puts the results of several models on the same queries into one report.

    Args:
        queries: The Q queries that all rows were measured on.
        rows: The models. Each of kind "model" is compared with the baselines and the models after it.
        training_counts: integer [N], training events of each item.
        run: Facts about the run to keep with the numbers, JSON-serializable.
        diagnostics: What the trained model's item vectors are like, see `trainer/diagnostics.py`.
        exclude_history: What `evaluate` was told.
        seed: For intervals and tests.

    Raises:
        ValueError: if two rows share a name or were measured on different queries.
    """
    _check_rows(queries, rows)
    values = {row.name: accuracy_values(row.result.ranks, row.result.ks) for row in rows}
    first = rows[0].result
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": dict(run or {}),
        "queries": {
            "count": len(queries),
            "users": len(np.unique(queries.sequence)),
            "dropped_targets": queries.dropped_targets,
            "mean_history": float(queries.history_lengths().mean()),
        },
        "catalogue": {
            "items": len(training_counts),
            "with_training_events": int(np.count_nonzero(training_counts)),
        },
        "settings": {
            "ks": list(first.ks),
            "list_size": first.list_size,
            "exclude_history": exclude_history,
            "confidence": CONFIDENCE,
            "seed": seed,
        },
        "models": [_model(row, values[row.name], queries, training_counts, seed) for row in rows],
        "comparisons": _comparisons(rows, values, queries.sequence, seed),
        "diagnostics": dict(diagnostics or {}),
    }


def write_report(report: Report, path: Path) -> None:
    """Writes the report as JSON beside `path` and renames it, so that no reader sees half of it."""
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")


def read_report(path: Path) -> Report:
    """Reads what :func:`write_report` wrote.

    Raises:
        ValueError: if the file is no evaluation report, or one of another version.
    """
    report = json.loads(path.read_text(encoding="utf-8"))
    found = (report.get("format"), report.get("version")) if isinstance(report, dict) else (None, None)
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path} is not an evaluation report of this version: format and version are {found}, "
            f"expected {(FORMAT, VERSION)}. Run `twotower evaluate` again to write one."
        )
    return dict(report)


def _check_rows(queries: EvaluationQueries, rows: Sequence[Measured]) -> None:
    names = [row.name for row in rows]
    if not rows or len(set(names)) != len(names):
        raise ValueError(f"a report needs rows with different names, got {names}")
    for row in rows:
        if len(row.result.ranks) != len(queries) or row.result.ks != rows[0].result.ks:
            raise ValueError(
                f"{row.name!r} was measured on {len(row.result.ranks)} queries at k = {row.result.ks}, "
                f"expected the {len(queries)} queries of this report at k = {rows[0].result.ks}"
            )


def _model(
    row: Measured,
    values: Mapping[str, FloatArray],
    queries: EvaluationQueries,
    training_counts: npt.NDArray[np.integer],
    seed: int,
) -> dict[str, Any]:
    intervals = bootstrap_intervals(values, queries.sequence, confidence=CONFIDENCE, seed=seed)
    metrics = {
        name: asdict(intervals[name]) if name in intervals else {"value": value}
        for name, value in row.result.metrics.items()
    }
    small = {name: values[name] for name in _headline(row.result)}
    slices = {
        name: _slice(small, mask, queries.sequence, seed)
        for name, mask in all_slices(queries, training_counts).items()
    }
    entry: dict[str, Any] = {
        "name": row.name,
        "kind": row.kind,
        "settings": dict(row.settings),
        "seconds": dict(row.seconds),
        "metrics": metrics,
        "recall_curve": [
            [k, float(recall(row.result.ranks, k).mean())] for k in CURVE if k <= len(training_counts)
        ],
        "slices": slices,
    }
    if (other := row.other_protocol) is not None:
        accuracy = accuracy_values(other.ranks, other.ks)
        intervals = bootstrap_intervals(accuracy, queries.sequence, confidence=CONFIDENCE, seed=seed)
        entry["other_protocol"] = {name: asdict(interval) for name, interval in intervals.items()}
    return entry


def _slice(
    values: Mapping[str, FloatArray], mask: npt.NDArray[np.bool_], groups: npt.NDArray[np.integer], seed: int
) -> dict[str, Any]:
    intervals = bootstrap_intervals(
        {name: every[mask] for name, every in values.items()}, groups[mask], confidence=CONFIDENCE, seed=seed
    )
    return {"queries": int(mask.sum()), **{name: asdict(interval) for name, interval in intervals.items()}}


def _headline(result: EvaluationResult) -> tuple[str, str]:
    """The two metrics that slices and comparisons are about."""
    return f"recall@{result.list_size}", f"ndcg@{result.list_size}"


def comparison_row(
    names: tuple[str, str],
    metric: str,
    values: tuple[FloatArray, FloatArray],
    groups: npt.NDArray[np.integer],
    seed: int,
) -> dict[str, Any]:
    """The paired comparison of two models by one metric, as reports hold it.

    Args:
        names: Of the two models.
        metric: Such as "ndcg@10".
        values: float64 [Q] each, one value a query.
        groups: integer [Q], the user of each query.
        seed: Of swaps and draws.
    """
    outcome = paired_comparison(*values, groups, seed=seed)
    return {
        "first": names[0],
        "second": names[1],
        "metric": metric,
        "difference": outcome.difference.value,
        "low": outcome.difference.low,
        "high": outcome.difference.high,
        "p_value": outcome.p_value,
    }


def _comparisons(
    rows: Sequence[Measured],
    values: Mapping[str, Mapping[str, FloatArray]],
    groups: npt.NDArray[np.integer],
    seed: int,
) -> list[dict[str, Any]]:
    comparisons = []
    for number, model in enumerate(rows):
        others = [row for place, row in enumerate(rows) if row.kind == "baseline" or place > number]
        for other in others if model.kind == "model" else ():
            for metric in _headline(model.result):
                pair = values[model.name][metric], values[other.name][metric]
                comparisons.append(comparison_row((model.name, other.name), metric, pair, groups, seed))
    return comparisons
