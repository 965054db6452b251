"""What a training step and its input cost, beside the TFRS tutorial, Keras' own optimizers and naive input.

    python benchmarks/training.py tables
    python benchmarks/training.py product
    python benchmarks/training.py text --encoder runs/movielens-100k/encoder
    python benchmarks/training.py modes
    python benchmarks/training.py input
    python benchmarks/training.py waiting

All variants of a table take turns in each round of one process; medians over the rounds with the smallest and the
largest, and ratios taken inside each round; by the clock, and by the processor seconds of the process, which other
programs on the machine disturb less.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_ROUNDS = click.option("--rounds", default=5, show_default=True, help="How often all variants take turns.")
_SECONDS = click.option("--seconds", default=0.5, show_default=True, help="How long each runs in a round.")
_CONSOLE = Console(width=140)
_PASSES = 20


@click.group(chain=True)
def main() -> None:
    """Times training steps and input pipelines; several commands may follow each other."""


@main.command()
@_ROUNDS
@_SECONDS
@click.option("--items", default=1_000_000, show_default=True, help="Rows of the large table of items.")
def tables(rounds: int, seconds: float, items: int) -> None:
    """Optimizers on the two tables of the TFRS tutorial: 64 wide, 512 pairs a step, 100,000 users."""
    from _training_models import tutorial

    steps = {
        f"{kind}, {size:,} items": tutorial(size, kind)
        for size in (10_000, items)
        for kind in ("ours", "ours, lazy Adam", "tf_keras Adagrad", "Keras 3 Adagrad", "Keras 3 Adam")
    }
    _report("Two tables", steps, f"ours, {items:,} items", rounds, seconds)


@main.command()
@_ROUNDS
@_SECONDS
@click.option("--items", default=1_000_000, show_default=True, help="Of the largest catalogue.")
def product(rounds: int, seconds: float, items: int) -> None:
    """The product's whole step, 16 histories of 50 events, 1,024 drawn negatives, by the size of the catalogue."""
    import _training_models as models

    drawn = {"retrieval": {"softmax": "distinct", "uniform_negatives": 1024, "popularity_negatives": 256}}
    steps = {
        f"{rule}, {size:,} items": models.product(size, 16, 50, table_optimizer=rule, **drawn)[0]
        for rule in ("lazy_adam", "adagrad")
        for size in (10_000, 100_000, items)
    }
    steps["adamw, 10,000 items"] = models.product(10_000, 16, 50, **drawn)[0]
    _report("The product's step", steps, "lazy_adam, 10,000 items", rounds, seconds)


@main.command()
@_ROUNDS
@_SECONDS
@click.option(
    "--encoder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A BERT; without it the naive step is left out.",
)
def text(rounds: int, seconds: float, encoder: Path | None) -> None:
    """Frozen text vectors against the ID-only tutorial and a BERT that reads every item; 1,682 items, 512 events."""
    import _training_models as models

    alone = {"ranking": {"weight": 0.0, "value_weight": 0.0}}
    in_batch = {"retrieval": {"uniform_negatives": 0}, "table_optimizer": "adagrad"}
    steps = {
        "TFRS tutorial, IDs": models.tutorial(1682, "tf_keras Adagrad", users=943),
        "TFRS tutorial on sequences, IDs": models.sequential_tutorial(1682),
        "ours, text, both tasks": models.product(1682, 8, 64, models.TEXT)[0],
        "ours, text, retrieval": models.product(1682, 8, 64, models.TEXT, **alone)[0],
        "ours, text, retrieval in the batch": models.product(1682, 8, 64, models.TEXT, **alone, **in_batch)[
            0
        ],
        "the same by XLA": models.product(1682, 8, 64, models.TEXT, jit_compile=True, **alone, **in_batch)[0],
        "ours, IDs, retrieval in the batch": models.product(1682, 8, 64, **alone, **in_batch)[0],
    }
    if encoder is not None:
        steps["BERT for every item"] = models.bert_for_every_item(encoder)
    _report("512 predicted events", steps, "TFRS tutorial, IDs", rounds, seconds)


@main.command()
@_ROUNDS
@_SECONDS
@click.option("--width", default=64, show_default=True, help="Of both towers.")
def modes(rounds: int, seconds: float, width: int) -> None:
    """Precision and compilation: the product's step on 1,682 items with text, 16 histories of 100 events."""
    from _training_models import TEXT
    from _training_models import product as step_of

    base = {"model": {"embedding_dim": width, "history": {"max_length": 100}}}
    settings: dict[str, dict[str, Any]] = {
        "float32": {},
        "mixed_bfloat16": {"precision": "mixed_bfloat16"},
        "mixed_float16": {"precision": "mixed_float16"},
        "XLA": {"jit_compile": True},
        "XLA, mixed_bfloat16": {"jit_compile": True, "precision": "mixed_bfloat16"},
    }
    steps = {name: step_of(1682, 16, 100, TEXT, **base, **change)[0] for name, change in settings.items()}
    _report(f"{width} wide", steps, "float32", rounds, seconds)


@main.command("input")
@_ROUNDS
def input_(rounds: int) -> None:
    """Shuffled events a second, 100,000 events; ours also over many passes, since a training sets its input up once."""
    import _training_input as pipelines

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.tfrecord"
        pipelines.write_records(file)
        datasets = {  # with the number of passes over the events
            "naive: shuffle, parse one, batch": (pipelines.naive(file, 512), 1),
            "shuffle, batch, parse in batches": (pipelines.batched(file, 512), 1),
            "ours, 512 histories of 1": (pipelines.ours(1, 512), 1),
            "ours, 16 histories of 50": (pipelines.ours(50, 16), 1),
            f"ours, 512 histories of 1, {_PASSES} passes": (pipelines.ours(1, 512, _PASSES), _PASSES),
            f"ours, 16 histories of 50, {_PASSES} passes": (pipelines.ours(50, 16, _PASSES), _PASSES),
        }
        drains = {name: partial(pipelines.drain, given) for name, (given, _) in datasets.items()}
        times = _measure(drains, rounds, 0.0)
    events = {name: pipelines.EVENTS * passes for name, (_, passes) in datasets.items()}
    _print(
        "Shuffled input",
        "events/s",
        {
            name: [(1000 * events[name] / passed, 1000 * events[name] / used) for passed, used in pairs]
            for name, pairs in times.items()
        },
        "naive: shuffle, parse one, batch",
    )


@main.command()
@click.option("--steps", default=200, show_default=True, help="Of the profiled part.")
def waiting(steps: int) -> None:
    """How long `fit` waits for its input, by TensorFlow's profiler: MovieLens' size, 16 histories of 100 events."""
    import _training_input as pipelines
    import _training_models as models

    model = models.fitted(1682, 100, models.TEXT)
    spent = pipelines.waiting(model, pipelines.ours(100, 16, epochs=10**6), steps)
    for name, milliseconds in spent.items():
        _CONSOLE.print(f"{name}: {milliseconds:.3f} ms a step")
    _CONSOLE.print(f"share of waiting: {spent['IteratorGetNext'] / spent['step']:.1%}")


_Times = dict[str, list[tuple[float, float]]]


def _report(title: str, steps: dict[str, Callable[[], Any]], base: str, rounds: int, seconds: float) -> None:
    _print(title, "ms a step", _measure(steps, rounds, seconds), base)


def _measure(calls: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> _Times:
    """Milliseconds a call by the clock and of the processors, one pair a round."""
    for call in calls.values():
        call()
    times: _Times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            count, begun, spent = 0, time.perf_counter(), time.process_time()
            while not count or time.perf_counter() - begun < seconds:
                call()
                count += 1
            passed, used = time.perf_counter() - begun, time.process_time() - spent
            times[name].append((1000 * passed / count, 1000 * used / count))
    return times


def _print(title: str, unit: str, values: _Times, base: str) -> None:
    table = Table(title=title)
    for column in ("variant", unit, f"x {base}", "the same of the processors", f"x {base}"):
        table.add_column(column)
    for name, pairs in values.items():
        row = [name]
        for kind in (0, 1):
            figures, others = [pair[kind] for pair in pairs], [pair[kind] for pair in values[base]]
            ratios = [figure / other for figure, other in zip(figures, others, strict=True)]
            row += [_spread(figures), _spread(ratios)]
        table.add_row(*row)
    _CONSOLE.print(table)


def _spread(values: list[float]) -> str:
    digits = 0 if min(values) > 1000 else 2
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low}..{high})"


if __name__ == "__main__":
    main()
