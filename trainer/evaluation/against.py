"""A paired test between two evaluations of the same queries, made at different times by different models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.evaluation.metrics import ACCURACY
from trainer.evaluation.rank_file import KeptRanks
from trainer.evaluation.report import Report, comparison_row, read_report

REPORT_FILE = "evaluation.json"
RANKS_FILE = "evaluation_ranks.npz"


def find_report(path: Path, split: str) -> Path:
    """The report that a user means by a file, a folder with one, or a work_dir.

    Raises:
        ValueError: there is none.
    """
    for file in (path, path / REPORT_FILE, path / split / REPORT_FILE):
        if file.is_file():
            return file
    raise ValueError(
        f"There is no evaluation to compare with at {path}: expected an {REPORT_FILE}, a folder that holds one, or a "
        "work_dir. Run `twotower evaluate` for the other model first."
    )


def check_comparable(
    first: tuple[Report, KeptRanks], second: tuple[Report, KeptRanks], second_file: Path
) -> None:
    """Makes sure that two evaluations ranked the same targets in the same way.

    Args:
        first: A report and its ranks.
        second: Another.
        second_file: Where that comes from, for the message.

    Raises:
        ValueError: they asked other queries or ranked otherwise.
    """
    (report, ranks), (other, other_ranks) = first, second
    if other_ranks.digest != ranks.digest:
        raise ValueError(
            f"{second_file} was measured on other test events ({other['queries']['count']:,} queries, these are "
            f"{report['queries']['count']:,}): a paired test needs the same ones. Evaluate both models on one dataset."
        )
    mine, theirs = (each["settings"]["exclude_history"] for each in (report, other))
    if mine != theirs:
        raise ValueError(
            f"{second_file} has evaluate.exclude_history = {str(theirs).lower()}, this evaluation has "
            f"{str(mine).lower()}. Evaluate both alike."
        )


def compare_with(report: Report, ranks: KeptRanks, other_file: Path) -> dict[str, Any]:
    """Compares each trained model of a report with the one of the same name in another.

    Args:
        report: This evaluation.
        ranks: Its ranks.
        other_file: The report of the other, its ranks beside it.

    Returns:
        The block "against" of reports: comparisons by recall and NDCG at the list size of this report, positive where
        this evaluation's model is better.

    Raises:
        ValueError: the other evaluation cannot be read, or asked other queries or ranked otherwise.
    """
    other, other_ranks = read_report(other_file), KeptRanks.read(other_file.with_name(RANKS_FILE))
    check_comparable((report, ranks), (other, other_ranks), other_file)
    label = f"{other['run'].get('name', other_file.parent.name)} ({other_file})"
    names = [model["name"] for model in report["models"] if model["kind"] == "model"]
    shared = [name for name in names if name in other_ranks.ranks]
    rows = [
        _row(name, label, metric, report, ranks, other_ranks)
        for name in shared
        for metric in ("recall", "ndcg")
    ]
    return {"file": str(other_file), "name": other["run"].get("name", ""), "comparisons": rows}


def _row(
    name: str, label: str, metric: str, report: Report, ranks: KeptRanks, other: KeptRanks
) -> dict[str, Any]:
    size = report["settings"]["list_size"]
    values = ACCURACY[metric](ranks.ranks[name], size), ACCURACY[metric](other.ranks[name], size)
    seed = report["settings"]["seed"]
    return comparison_row((name, f"{name}, {label}"), f"{metric}@{size}", values, ranks.groups, seed)
