"""`twotower evaluate`: the trained model beside baselines, on the same test events, in the same run."""

from __future__ import annotations

import json
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress

from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.errors import DatasetError
from trainer.evaluation.baselines.registry import candidates
from trainer.evaluation.baselines.tuning import tune
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import ItemFacts, Scorer, evaluate
from trainer.evaluation.report import Measured, Report, build_report, read_report, write_report
from trainer.evaluation.tables import print_report
from trainer.preparation import item_texts
from trainer.run import RunDirectory
from trainer.scoring import ModelScorer, encode_catalogue
from trainer.sequences import load_sequences
from trainer.training import load_best, queries_of
from trainer.workbench import Workbench


def evaluate_run(config: ProjectConfig, split: str, console: Console, *, overwrite: bool = False) -> Report:
    """Measures the run of one split protocol on its test events and writes the report.

    Args:
        config: The configuration file.
        split: "leave_last_out" or "by_time".
        console: For progress and tables.
        overwrite: Measure again even if the report is up to date.

    Raises:
        DatasetError: the dataset cannot be used, or has no test events.
        RunError: there is no finished run.
    """
    dataset = DatasetDirectory.open(config.dataset_dir(split))
    run = RunDirectory(config.run_dir(split))
    identity = digest_of(run.finished()["identity"], config.evaluate, config.train)
    file = config.evaluation_file(split)
    report = None if overwrite else _current(config, split, identity)
    if report is not None:
        console.print(f"{file} is up to date. Use --overwrite to measure again.")
    else:
        report = _measure(config, Workbench.open(config, dataset, console), run, identity, split, console)
        write_report(report, file)
    print_report(report, console, title=f"{config.name}, {split}")
    console.print(f"Written to {file}.")
    return report


def _current(config: ProjectConfig, split: str, identity: str) -> Report | None:
    try:
        report = read_report(config.evaluation_file(split))
    except (OSError, ValueError, json.JSONDecodeError):
        return None
    return report if report["run"].get("identity") == identity else None


def _measure(
    config: ProjectConfig, bench: Workbench, run: RunDirectory, identity: str, split: str, console: Console
) -> Report:
    load_best(bench.model, config.train, run)
    catalogue = bench.preparation.catalogue
    test = load_sequences(bench.dataset, "test", catalogue)
    queries = queries_of(test)
    if not len(queries):
        raise DatasetError(
            f"{bench.dataset.path}: the test split has no event whose item is in the catalogue."
        )
    validation = queries_of(load_sequences(bench.dataset, "validation", catalogue))
    vectors = encode_catalogue(bench.model)
    text = bench.model.known_catalogue.inputs.get("text")
    facts = ItemFacts(catalogue.counts, text.numpy() if text is not None else None)
    rows = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        for name, rerank in (("two-tower, ranked", True), ("two-tower, retrieval", False)):
            scorer = ModelScorer(
                bench.model,
                bench.preparation,
                test,
                queries,
                rerank=rerank,
                exclude_history=config.evaluate.exclude_history,
                item_vectors=vectors,
            )
            rows.append(_row(config, queries, scorer, facts, bar, name=name, kind="model"))
        for name in config.evaluate.baselines:
            rows.append(_baseline_row(config, bench, name, queries, validation, facts, bar))
    facts_of_run = {
        "identity": identity,
        "name": config.name,
        "protocol": split,
        "dataset_digest": bench.dataset.digest,
    }
    return build_report(
        queries,
        rows,
        catalogue.counts,
        run=facts_of_run,
        exclude_history=config.evaluate.exclude_history,
        seed=config.train.seed,
    )


def _row(
    config: ProjectConfig,
    queries: EvaluationQueries,
    scorer: Scorer,
    facts: ItemFacts,
    bar: Progress,
    *,
    name: str,
    kind: Any = "baseline",
    settings: Any = None,
    seconds: dict[str, float] | None = None,
) -> Measured:
    task = bar.add_task(name, total=len(queries))
    began = time.monotonic()
    result = evaluate(
        queries,
        scorer,
        config.evaluate.ks,
        config.evaluate.exclude_history,
        progress=lambda done, _: bar.update(task, completed=done),
        facts=facts,
    )
    took = {**(seconds or {}), "evaluate": round(time.monotonic() - began, 2)}
    return Measured(name, result, kind, settings or {}, took)


def _baseline_row(
    config: ProjectConfig,
    bench: Workbench,
    name: str,
    queries: EvaluationQueries,
    validation: EvaluationQueries,
    facts: ItemFacts,
    bar: Progress,
) -> Measured:
    """Tunes a baseline on the validation events and fits it on the training events."""
    train, size = bench.train, len(bench.preparation.catalogue)
    grid = list(candidates(name, texts=item_texts(bench.preparation), seed=config.train.seed))
    task = bar.add_task(f"tuning {name}", total=len(grid))
    began = time.monotonic()
    baseline = tune(
        grid,
        train.items,
        train.row_splits,
        size,
        validation,
        exclude_history=config.evaluate.exclude_history,
        seed=config.train.seed,
        progress=lambda done: bar.update(task, completed=done),
    ).best
    fitted = {"tune": round(time.monotonic() - began, 2)}
    scorer = baseline.scorer(queries)
    return _row(
        config, queries, scorer, facts, bar, name=baseline.name, settings=baseline.settings(), seconds=fitted
    )
