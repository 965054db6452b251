"""Explanations of a trained model, measured: does what is said to matter matter?

    python benchmarks/explanations.py examples/movielens-100k.toml --output explanations.html

Takes users of the test split with at least `--events` events, their last `--events` events as history, and for each the
item that retrieval puts first. For each way to explain (`benchmarks/_explainers.py`):

- deletion: events are taken out, those said to matter most first; the mean score over the curve (Samek 2017), less is
  better. Insertion: they are put into an empty history in the same order; more is better.
- Spearman's correlation with leave-one-out (what the score loses without an event), and with Shapley values over
  `--reference` random orders.
- completeness: how far the parts are from the difference between all and nothing, as a share of it.
- coalitions asked for, and milliseconds for one explanation.
- sanity (Adebayo 2018), from the top down: Spearman's correlation with the explanation of the same question by a model
  whose query tower has random weights, and by one in which everything has. Near 1 would mean that it does not depend
  on what was learned.
- the gap between insertion and deletion (both at once), less that of `explain`, with a 95 % bootstrap interval over the
  users: below 0, `explain` is better.

shap and lime take part where they are installed (requirements-explanations.txt).
"""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _explainers as ways
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from trainer.config import load_config
from trainer.dataset import DatasetDirectory
from trainer.evaluation.intervals import paired_comparison
from trainer.keras_compat import keras
from trainer.model import TwoTowerModel
from trainer.preparation import user_inputs
from trainer.run import RunDirectory
from trainer.scoring import encode_catalogue
from trainer.sequences import load_sequences
from trainer.training import load_best
from trainer.workbench import Workbench

Explain = Callable[[ways.Case], ways.Floats]
_COLUMNS = (
    "deletion",
    "insertion",
    "leave-one-out",
    "Shapley",
    "incomplete",
    "coalitions",
    "ms",
    "random query tower",
    "random model",
)

_GAP = "gap, less explain's"


def methods(events: int) -> dict[str, Explain]:
    """What is compared; the budgets of the libraries are those of `explain`, or their own where they are larger."""
    budget = 8 * (events + 1)
    found: dict[str, Explain] = {
        "explain (8 orders)": ways.insertion_orders(4),
        "explain (4 orders)": ways.insertion_orders(2),
        "explain (2 orders)": ways.insertion_orders(1),
        "leave-one-out": ways.leave_one_out,
        "integrated gradients (32)": ways.integrated_gradients(32),
        "attention weights": ways.attention_weights,
        "cosine": ways.cosine,
        "random": ways.by_chance,
    }
    if importlib.util.find_spec("shap"):
        found[f"shap kernel ({budget})"] = ways.shap_kernel(budget)
        found["shap kernel (1,000)"] = ways.shap_kernel(1000)
        found[f"shap permutation ({budget})"] = ways.shap_permutation(budget)
    if importlib.util.find_spec("lime"):
        found[f"lime ({budget})"] = ways.lime_text(budget)
        found["lime (1,000)"] = ways.lime_text(1000)
    return found


def curves(case: ways.Case, shares: ways.Floats) -> tuple[ways.Floats, ways.Floats]:
    """Scores [L + 1] while events are deleted, and while they are inserted."""
    length = len(shares)
    rank = np.argsort(np.argsort(-shares, kind="stable"), kind="stable")
    there = rank[np.newaxis] >= np.arange(length + 1)[:, np.newaxis]
    return case.worth(there), case.worth(~there)


def spearman(one: ways.Floats, other: ways.Floats) -> float:
    """Rank correlation; 0 where one of them is constant."""
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1]) if np.ptp(one) and np.ptp(other) else 0.0


def reference(case: ways.Case, orders: int) -> ways.Floats:
    """Shapley values over random orders, each with its reverse."""
    rng, length = np.random.default_rng(7), len(case.history)
    half = [np.argsort(rng.permutation(length)) for _ in range(orders // 2)]
    places = np.stack([*half, *(length - 1 - one for one in half)])
    there = (places[:, np.newaxis] < np.arange(length + 1)[:, np.newaxis]).reshape(-1, length)
    return ways.contributions(case.worth(there)[:, np.newaxis], places)[:, 0]


def randomized(bench: Workbench, config: Any) -> TwoTowerModel:
    """The same model before it has learned anything."""
    keras.utils.set_random_seed(12345)
    model = TwoTowerModel(config.train, bench.preparation.spec)
    model.catalogue = bench.model.known_catalogue
    rng = np.random.default_rng(5)
    for weight in model.query_tower.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, (2 / sum(weight.shape[-2:])) ** 0.5, weight.shape))
    return model


def cases_of(bench: Workbench, events: int, users: int) -> list[ways.Case]:
    """One case a user."""
    model, vectors = bench.model, encode_catalogue(bench.model).numpy()
    test = load_sequences(bench.dataset, "test", bench.preparation.catalogue)
    columns = user_inputs(bench.preparation, test)
    long = [u for u in range(len(test)) if test.row_splits[u + 1] - test.row_splits[u] >= events]
    chosen = np.random.default_rng(0).choice(long, min(users, len(long)), replace=False)
    found = []
    for user in chosen.tolist():
        seen = test.items[test.row_splits[user] : test.row_splits[user + 1]]
        own = {name: value[user : user + 1] for name, value in columns.items()}
        rows = np.append(seen[-events:], -1)
        case = ways.Case(model, vectors[rows[:-1]], own, np.zeros(vectors.shape[1], np.float32), rows)
        query = np.asarray(case.queries(case.history[np.newaxis], np.ones((1, events), bool)))[0]
        scores = vectors @ query
        scores[seen] = -np.inf
        rows[-1] = int(np.argmax(scores))
        found.append(case.with_model(model, vectors))
    return found


def measure(
    cases: list[ways.Case], other: TwoTowerModel, events: int, orders: int, console: Console
) -> dict[str, Any]:
    """Figures by method: the mean over all cases."""
    rows: dict[str, list[list[float]]] = {}
    drawn: dict[str, list[Any]] = {}
    vectors = encode_catalogue(other).numpy()
    for number, case in enumerate(cases):
        ends = case.worth(np.stack([np.zeros(events, bool), np.ones(events, bool)]))
        without, exact = ways.leave_one_out(case), reference(case, orders)
        strangers = [case.with_model(other), case.with_model(other, vectors)]
        for name, explain in methods(events).items():
            explain(case) if number == 0 else None  # compiles
            before, began = case.asked, time.perf_counter()
            shares = explain(case)
            seconds, asked = time.perf_counter() - began, case.asked - before
            deletion, insertion = curves(case, shares)
            incomplete = abs(shares.sum() - (ends[1] - ends[0])) / abs(ends[1] - ends[0])
            drawn.setdefault(name, []).append((deletion, insertion))
            rows.setdefault(name, []).append(
                [deletion.mean(), insertion.mean(), spearman(shares, without), spearman(shares, exact), incomplete,
                 asked, seconds * 1e3, *(spearman(shares, explain(one)) for one in strangers)]
            )  # fmt: skip
        console.print(f"{number + 1} of {len(cases)} users", end="\r")
    figures = {
        name: dict(zip(_COLUMNS, np.mean(found, axis=0).tolist(), strict=True))
        for name, found in rows.items()
    }
    means = {name: np.mean(found, axis=0).tolist() for name, found in drawn.items()}
    return {"figures": figures, "curves": means, "gaps": gaps(rows)}


def gaps(rows: dict[str, list[list[float]]]) -> dict[str, list[float]]:
    """Insertion less deletion of each method, less that of the first: mean, and the bounds of its interval."""
    both = {name: np.asarray([row[1] - row[0] for row in found]) for name, found in rows.items()}
    ours = next(iter(both.values()))
    users = np.arange(len(ours))
    found = {name: paired_comparison(gap, ours, users).difference for name, gap in both.items()}
    return {name: [one.value, one.low, one.high] for name, one in found.items()}


def draw(result: dict[str, Any], file: Path, command: str) -> None:
    """Writes a page with the curves and the table."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot, ticker

    figure, both = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for axes, title, at in zip(both, ("deletion", "insertion"), (0, 1), strict=True):
        axes.set_prop_cycle(color=mpl.colormaps["tab20"].colors)  # more colours than there are lines
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        for name, pair in result["curves"].items():
            axes.plot(pair[at], label=name, linewidth=2.5 if name.startswith("explain (8") else 1)
        axes.set(title=title, xlabel="events", ylabel="score" if at == 0 else "")
    both[1].legend(fontsize=7)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, bbox_inches="tight")
    picture = base64.b64encode(image.getvalue()).decode()
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{_cell(c, row[c])}</td>" for c in _COLUMNS)
        + f"<td>{_interval(result, name)}</td></tr>"
        for name, row in result["figures"].items()
    )
    heads = "".join(f"<th>{column}</th>" for column in ("", *_COLUMNS, _GAP))
    page = (
        '<!doctype html><meta charset="utf-8"><title>Explanations</title><h1>Explanations</h1>'
        f"<p><code>{html.escape(command)}</code></p>"
        f'<img alt="Deletion and insertion curves" src="data:image/png;base64,{picture}">'
        f"<table><tr>{heads}</tr>{cells}</table>"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".unfinished")
    scratch.write_text(page, encoding="utf-8")
    scratch.rename(file)


def _cell(column: str, value: float) -> str:
    return f"{value:,.0f}" if column == "coalitions" else f"{value:.1f}" if column == "ms" else f"{value:.3f}"


def _interval(result: dict[str, Any], name: str) -> str:
    mean, low, high = result["gaps"][name]
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


@click.command()
@click.argument("config_file", type=click.Path(exists=True, dir_okay=False))
@click.option("--split", default="leave_last_out", show_default=True, help="Whose run to explain.")
@click.option("--users", default=24, show_default=True, help="How many users.")
@click.option("--events", default=20, show_default=True, help="Events of each history.")
@click.option("--reference", "orders", default=200, show_default=True, help="Orders of the Shapley values.")
@click.option("--output", type=click.Path(path_type=Path), help="HTML file to write.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here, too.")
def main(
    config_file: str,
    split: str,
    users: int,
    events: int,
    orders: int,
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Measure explanations of a trained model."""
    console, config = Console(width=180), load_config(config_file)
    bench = Workbench.open(config, DatasetDirectory.open(config.dataset_dir(split)), console)
    load_best(bench.model, config.train, RunDirectory(config.run_dir(split)))
    cases = cases_of(bench, events, users)
    result = measure(cases, randomized(bench, config), events, orders, console)
    table = Table("", *_COLUMNS, _GAP)
    for name, row in result["figures"].items():
        table.add_row(name, *(_cell(column, row[column]) for column in _COLUMNS), _interval(result, name))
    console.print(table)
    if output is not None:
        draw(
            result,
            output,
            f"python benchmarks/explanations.py {config_file} --users {users} --events {events} --reference {orders}",
        )
        console.print(f"Wrote {output}")
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
