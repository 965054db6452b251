"""Several trainings that differ by their seed alone: their mean, its spread, and what it is ahead of baselines.

    python benchmarks/quality/seeds.py runs/seed-1/by_time runs/seed-2/by_time runs/seed-42/by_time

Prints a Markdown table of the mean over the seeds, in brackets the lowest and the highest. Of every query the mean over
the seeds is compared with the other rows, paired and by user: how far the first row is ahead, with a 95 % interval and
a p-value. Baselines have no seed; they are taken from the first evaluation that has them, and from --baselines, folders
whose own models are left aside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from trainer.evaluation.against import RANKS_FILE, REPORT_FILE, check_comparable
from trainer.evaluation.intervals import Comparison, paired_comparison
from trainer.evaluation.metrics import ACCURACY
from trainer.evaluation.rank_file import KeptRanks
from trainer.evaluation.report import Report, read_report

Floats = npt.NDArray[np.float64]
METRICS = ("recall", "ndcg")
SMALLEST = 1e-4  # the smallest p-value that is written out


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Of the model.
        seeds: For each metric float64 [S, Q], the value of every query with every seed; S = 1 for a baseline.
        other_protocol: For each metric the S means with the history treated the other way; empty if not measured.
    """

    name: str
    seeds: Mapping[str, Floats]
    other_protocol: Mapping[str, Sequence[float]]

    def mean(self, metric: str) -> Floats:
        """float64 [Q], the mean over the seeds of every query."""
        return np.asarray(self.seeds[metric].mean(axis=0), np.float64)


@dataclass(frozen=True)
class Evaluated:
    """One evaluation and the ranks beside it."""

    folder: Path
    report: Report
    ranks: KeptRanks

    @classmethod
    def read(cls, folder: Path) -> Evaluated:
        """Raises `click.ClickException` if the folder holds no evaluation."""
        try:
            return cls(folder, read_report(folder / REPORT_FILE), KeptRanks.read(folder / RANKS_FILE))
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{folder} holds no finished evaluation: {error}") from error

    def names(self, kind: str) -> list[str]:
        """Of the rows that are trained models ("model") or baselines ("baseline")."""
        return [row["name"] for row in self.report["models"] if row["kind"] == kind]


def rows_of(name: str, evaluated: Sequence[Evaluated], k: int) -> Row:
    """A row of all evaluations that have it."""
    having = [each for each in evaluated if name in each.ranks.ranks]
    reported = [next(row for row in each.report["models"] if row["name"] == name) for each in having]
    other = [row["other_protocol"] for row in reported if f"ndcg@{k}" in row.get("other_protocol", {})]
    return Row(
        name,
        {
            metric: np.stack([ACCURACY[metric](each.ranks.ranks[name], k) for each in having])
            for metric in METRICS
        },
        {metric: [each[f"{metric}@{k}"]["value"] for each in other] for metric in METRICS} if other else {},
    )


def baseline_rows(evaluated: Sequence[Evaluated], k: int) -> list[Row]:
    """Every baseline of the first evaluation that has it, the best first."""
    having = {name: each for each in reversed(evaluated) for name in each.names("baseline")}
    rows = [rows_of(name, [each], k) for name, each in having.items()]
    return sorted(rows, key=lambda row: -float(row.mean("ndcg").mean()))


def same_queries(evaluated: Sequence[Evaluated]) -> None:
    """Raises `click.ClickException` unless all ranked the same targets in the same way."""
    first = evaluated[0]
    try:
        for each in evaluated[1:]:
            check_comparable((first.report, first.ranks), (each.report, each.ranks), each.folder)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def spread(values: Sequence[float]) -> str:
    """The mean, and the lowest and highest of several."""
    mean = _short(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ({_short(min(values))}-{_short(max(values))})"


def ahead(comparison: Comparison) -> str:
    """A difference with its interval and how likely it is without one."""
    difference, p_value = comparison.difference, comparison.p_value
    value, low, high = (_short(each, "+") for each in (difference.value, difference.low, difference.high))
    sure = "p < .0001" if p_value < SMALLEST else f"p = {f'{p_value:.2g}'.removeprefix('0')}"
    return f"{value} ({low} to {high}), {sure}"


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.4f}".replace("0.", ".", 1)


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--baselines",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An evaluation whose baselines are shown, too; repeat for several.",
)
@click.option("--k", default=10, show_default=True, help="Length of the lists.")
def main(runs: tuple[Path, ...], baselines: tuple[Path, ...], k: int) -> None:
    """Prints the table of the evaluations in RUNS, one folder (<work_dir>/<split>) a seed."""
    seeds = [Evaluated.read(folder) for folder in runs]
    others = [Evaluated.read(folder) for folder in baselines]
    same_queries([*seeds, *others])
    models = [rows_of(name, seeds, k) for name in seeds[0].names("model")]
    if not models:
        raise click.ClickException(f"{runs[0]} has baselines alone; give the evaluation of a trained model.")
    rows = [*models, *baseline_rows([*seeds, *others], k)]
    first, groups = models[0], seeds[0].ranks.groups
    other = " other protocol: Recall, NDCG |" if first.other_protocol else ""
    click.echo(f"{len(groups):,} queries of {len(np.unique(groups)):,} users, {len(seeds)} seeds\n")
    click.echo(f"| | Recall@{k} | NDCG@{k} |{other} NDCG@{k} of the first row less this |")
    click.echo("|---|---|---|---|" + "---|" * bool(other))
    for row in rows:
        cells = [spread(row.seeds[metric].mean(axis=1).tolist()) for metric in METRICS]
        if other:
            cells.append(", ".join(spread(values) for values in row.other_protocol.values()))
        difference = (
            ""
            if row is first
            else ahead(paired_comparison(first.mean("ndcg"), row.mean("ndcg"), groups, seed=42))
        )
        click.echo(f"| {row.name} | {' | '.join(cells)} | {difference} |")


if __name__ == "__main__":
    main()
