"""Memory and time of an evaluation as the number of events grows.

    python benchmarks/evaluation.py --events 1000000
    python benchmarks/evaluation.py --events 10000000

Makes events with a long tail, lets `twotower features build` write the dataset directory (a process of its own, not
counted), and evaluates in another process what `twotower evaluate` evaluates: the model with fresh weights, re-ranked
and by retrieval, popularity, and item-kNN with one setting, on a sample of the test queries; then intervals and a
paired test over all users. The table says what each stage took and the largest memory of the process until then.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

CONFIG = """
name = "bench"
work_dir = "{folder}"
[features]
splits = ["leave_last_out"]
data_dir = "{folder}"
report = false
[features.events]
files = ["events.csv"]
user_id = "user_id"
item_id = "item_id"
timestamp = "timestamp"
[train.model]
embedding_dim = 32
query_text = false
[train.model.history]
max_length = 50
[train.model.item]
text = false
[evaluate]
baselines = ["popularity"]
"""
SPLIT = "leave_last_out"


def write_events(file: Path, events: int, items: int) -> None:
    """Ten events a user on average, items with a long tail, one event a second."""
    draw = np.random.default_rng(0)
    users = np.sort(draw.integers(0, max(events // 10, 1), events))
    chosen = np.minimum((draw.pareto(1.1, events) * items / 1000).astype(np.int64), items - 1)
    with file.open("w") as out:
        out.write("user_id,item_id,timestamp\n")
        for start in range(0, events, 1_000_000):
            rows = range(start, min(start + 1_000_000, events))
            out.writelines(f"u{users[row]},i{chosen[row]},{1_500_000_000 + row}\n" for row in rows)


class Stages:
    """Seconds, processor seconds and peak memory, one row a stage."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Does the work of a stage and notes what it took."""
        began, busy = time.monotonic(), time.process_time()
        result = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        took = time.monotonic() - began
        self.rows.append(
            {"stage": name, "seconds": took, "cpu": time.process_time() - busy, "peak_mib": peak}
        )
        row = self.rows[-1]
        click.echo(f"{name:44} {took:8.1f} s {row['cpu']:8.1f} CPU s {peak:9,.0f} MiB")
        return result


def evaluate(folder: Path, queries: int) -> list[dict[str, Any]]:
    """All stages of an evaluation of the dataset in a folder."""
    from rich.console import Console
    from rich.progress import Progress

    from trainer.config import load_config
    from trainer.dataset import DatasetDirectory
    from trainer.evaluation.baselines.item_knn import ItemKNN
    from trainer.evaluation.intervals import bootstrap_intervals, paired_comparison
    from trainer.evaluation.metrics import accuracy_values, ndcg
    from trainer.evaluation.ranking import evaluate as rank
    from trainer.evaluation.report import build_report
    from trainer.measurement import Measurement
    from trainer.workbench import Workbench

    stages = Stages()
    stages("imports", lambda: None)
    config = load_config(folder / "bench.toml")
    dataset = DatasetDirectory.open(config.dataset_dir(SPLIT))
    quiet = Console(quiet=True)
    bench = stages("training events, catalogue, model", lambda: Workbench.open(config, dataset, quiet))
    with Progress(disable=True) as bar:
        whole = stages("test and validation events", lambda: Measurement.open(config, bench, bar))
        some = replace(whole, queries=whole.queries.sample(queries, seed=0))
        label = f"{len(some.queries):,} queries"
        rows = [stages(f"two-tower, ranked, {label}", lambda: some.model_row(rerank=True))]
        rows.append(stages(f"two-tower, retrieval, {label}", lambda: some.model_row(rerank=False)))
        rows.append(stages(f"popularity, {label}", lambda: some.baseline_row("popularity")))
        train, size = bench.train, len(bench.preparation.catalogue)
        knn = stages(
            "item-kNN, one fit", lambda: next(iter(ItemKNN.grid())).fit(train.items, train.row_splits, size)
        )
        stages(f"item-kNN, {label}", lambda: rank(some.queries, knn.scorer(some.queries)))
    stages("report", lambda: build_report(some.queries, rows, bench.preparation.catalogue.counts))
    users = whole.queries.sequence
    ranks = np.random.default_rng(0).integers(1, size, (2, len(users)))
    stages(
        f"intervals over {len(users):,} users",
        lambda: bootstrap_intervals(accuracy_values(ranks[0], (10, 50)), users),
    )
    stages("paired test over them", lambda: paired_comparison(ndcg(ranks[0], 10), ndcg(ranks[1], 10), users))
    return stages.rows


@click.command()
@click.option("--events", default=1_000_000, show_default=True, help="Events in all.")
@click.option("--items", default=50_000, show_default=True, help="Items that can be drawn.")
@click.option("--queries", default=5_000, show_default=True, help="Test queries that are ranked.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Keep the figures here.")
@click.option("--folder", type=click.Path(path_type=Path), hidden=True, help="Of the inner process.")
def main(events: int, items: int, queries: int, file: Path | None, folder: Path | None) -> None:
    """Makes a dataset and evaluates it in a process of its own."""
    if folder is not None:
        (folder / "stages.json").write_text(json.dumps(evaluate(folder, queries)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "bench.toml").write_text(CONFIG.format(folder=scratch))
        write_events(Path(scratch) / "events.csv", events, items)
        build = [sys.executable, "-m", "beam_pipelines", "features", "build", f"{scratch}/bench.toml"]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        inner = [sys.executable, __file__, "--folder", scratch, "--queries", str(queries)]
        subprocess.run(inner, check=True)
        rows = json.loads((Path(scratch) / "stages.json").read_text())
    click.echo(f"{events:,} events: peak memory {rows[-1]['peak_mib']:,.0f} MiB")
    if file is not None:
        file.write_text(json.dumps({"events": events, "items": items, "stages": rows}, indent=1))


if __name__ == "__main__":
    main()
