"""`twotower evaluate`: the trained model beside baselines, on the same test events, in the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.errors import RunError
from trainer.evaluation.against import RANKS_FILE, compare_with, find_report
from trainer.evaluation.html_report import write_html_report
from trainer.evaluation.rank_file import KeptRanks
from trainer.evaluation.report import Report, build_report, read_report, write_report
from trainer.evaluation.tables import print_report
from trainer.measurement import Measurement
from trainer.model_card import write_model_card
from trainer.report_extras import gather_extras
from trainer.run import RunDirectory
from trainer.training import load_best
from trainer.workbench import Workbench


def evaluate_run(
    config: ProjectConfig,
    split: str,
    console: Console,
    *,
    overwrite: bool = False,
    against: Path | None = None,
) -> Report:
    """Measures the run of one split protocol on its test events and writes the report.

    Args:
        config: The configuration file.
        split: "leave_last_out" or "by_time".
        console: For progress and tables.
        overwrite: Measure again even if the report is up to date.
        against: Another evaluation of the same test events, to compare with: its file, its folder or a work_dir.

    Raises:
        DatasetError: the dataset cannot be used, or has no test events.
        RunError: there is no finished run, or the other evaluation cannot be compared with.
    """
    dataset = DatasetDirectory.open(config.dataset_dir(split))
    run = RunDirectory(config.run_dir(split))
    manifest = run.finished()
    identity = digest_of(manifest["identity"], config.evaluate, config.train)
    file, page = config.evaluation_file(split), config.report_file(split)
    report = None if overwrite else _current(file, identity)
    drawn = report is not None and against is None and page.exists() and run.card_file.exists()
    if report is not None:
        console.print(f"{file} is up to date. Use --overwrite to measure again.")
    else:
        report = _measure(config, Workbench.open(config, dataset, console), run, identity, split, console)
        write_report(report, file)
    if against is not None:
        report["against"] = _against(report, file, against, split)
        write_report(report, file)
    if not drawn:
        write_html_report(report, page, title=f"{config.name}, {split}")
        write_model_card(run, config, dataset, manifest, report)
    print_report(report, console, title=f"{config.name}, {split}")
    console.print(f"Written to {file}. To look at: {page}. Model card: {run.card_file}.", soft_wrap=True)
    return report


def _current(file: Path, identity: str) -> Report | None:
    """The report that is there, if it and the ranks beside it are of this model and these settings."""
    try:
        report = read_report(file)
        KeptRanks.read(file.with_name(RANKS_FILE))
    except (OSError, ValueError, json.JSONDecodeError):
        return None
    return report if report["run"].get("identity") == identity else None


def _against(report: Report, file: Path, other: Path, split: str) -> dict[str, Any]:
    try:
        return compare_with(report, KeptRanks.read(file.with_name(RANKS_FILE)), find_report(other, split))
    except ValueError as error:
        raise RunError(str(error)) from error


def _measure(
    config: ProjectConfig, bench: Workbench, run: RunDirectory, identity: str, split: str, console: Console
) -> Report:
    load_best(bench.model, config.train, run, console)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        measurement = Measurement.open(config, bench, bar)
        rows = [measurement.model_row(rerank=rerank) for rerank in (True, False)]
        rows += [measurement.baseline_row(name) for name in config.evaluate.baselines]
    measurement.ranks(rows).write(config.evaluation_file(split).with_name(RANKS_FILE))
    facts = {
        "identity": identity,
        "name": config.name,
        "protocol": split,
        "dataset_digest": bench.dataset.digest,
    }
    report = build_report(
        measurement.queries,
        rows,
        bench.preparation.catalogue.counts,
        run=facts,
        diagnostics=measurement.diagnostics(),
        exclude_history=config.excludes_history,
        seed=config.train.seed,
    )
    return {**report, "extras": gather_extras(run, measurement, rows[0].result).to_json()}
