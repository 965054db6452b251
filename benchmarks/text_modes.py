"""What a step costs in which the text tower learns: time of every mode, and memory of a large batch.

    python benchmarks/text_modes.py steps examples/movielens-100k.toml
    python benchmarks/text_modes.py memory examples/amazon-beauty.toml --encoder runs/movielens-100k/encoder

Both need the dataset that the configuration describes. `steps` draws the items of a batch by how often they occur in
training and times the text tower alone: texts to vectors, gradients, optimizer. The naive variants are KerasHub's
backbone on texts padded to 32 word pieces: "per item" encodes every item of the batch, "distinct" every distinct text,
with KerasHub's own `enable_lora`. All variants take turns in each round; ratios are taken inside each round, by the
clock and by processor time, which other programs on the machine disturb less.
`memory` runs whole training steps (both towers, both optimizers) and reads the greatest resident memory of the process.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PADDED = 32
FULL, LORA = "full, per item (naive)", "lora, distinct (naive)"
_CONSOLE = Console(width=140)
_CONFIG = click.argument("config", type=click.Path(exists=True, path_type=Path))
_ENCODER = click.option("--encoder", help="Text encoder, instead of the configuration's.")


@click.group()
def main() -> None:
    """Measures the modes of the text tower."""


@main.command()
@_CONFIG
@_ENCODER
@click.option("--batch", default=512, show_default=True, help="Items of a step.")
@click.option("--rounds", default=3, show_default=True, help="How often all variants take turns.")
@click.option("--only", multiple=True, help="Name of a variant, instead of all.")
def steps(config: Path, encoder: str | None, batch: int, rounds: int, only: tuple[str, ...]) -> None:
    """Times one step of every mode."""
    import numpy as np

    from trainer.catalogue import load_catalogue
    from trainer.config import load_config
    from trainer.dataset import DatasetDirectory

    project = load_config(config)
    dataset = DatasetDirectory.open(project.dataset_dir(project.features.splits[0]))
    catalogue, feature = load_catalogue(dataset), dataset.one("items", "item_text")
    if feature is None:
        raise click.ClickException(f"{dataset.path}: the items have no text.")
    texts = [str(text) for text in catalogue.columns[feature.name]]
    share = catalogue.counts / catalogue.counts.sum()
    items = np.random.default_rng(0).choice(len(texts), batch, p=share)
    makers = _variants(encoder or project.encoder(), texts, items)
    variants = {name: make() for name, make in makers.items() if not only or name in only}
    for run in variants.values():
        run()  # traces
    took: dict[str, list[float]] = {name: [] for name in variants}
    used: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(1, rounds + 1):
        for name, run in variants.items():
            began, spent = time.perf_counter(), time.process_time()
            run()
            took[name].append(1000 * (time.perf_counter() - began))
            used[name].append(1000 * (time.process_time() - spent))
            _CONSOLE.print(
                f"round {number}, {name}: {took[name][-1]:,.0f} ms, {used[name][-1]:,.0f} of the processors",
                highlight=False,
            )
    title = f"{batch} items, {len({texts[item] for item in items})} distinct texts, {rounds} rounds"
    _show(took, f"{title}: by the clock")
    _show(used, f"{title}: of the processors")


def _variants(encoder: str, texts: list[str], items: Any) -> dict[str, Callable[[], Callable[[], Any]]]:
    distinct = sorted({texts[item] for item in items})
    settings: dict[str, dict[str, Any]] = {
        "full": {"mode": "full"},
        "full, in chunks of 1024": {"mode": "full", "pieces_at_once": 1024},
        "top_layers, 2": {"mode": "top_layers"},
        "lora": {"mode": "lora"},
    }
    ours = {name: partial(_ours, encoder, texts, items, text) for name, text in settings.items()}
    return {
        FULL: partial(_naive, encoder, [texts[item] for item in items], lora=False),
        LORA: partial(_naive, encoder, distinct, lora=True),
        **ours,
    }


def _naive(name: str, texts: list[str], *, lora: bool) -> Callable[[], Any]:
    """KerasHub's backbone over padded texts."""
    import numpy as np

    from trainer.keras_compat import keras, tf
    from trainer.packed_texts import PackedTexts
    from trainer.text_encoder import load_text_encoder

    encoder = load_text_encoder(name, max_tokens=PADDED, max_characters=2048)
    packed = PackedTexts.tokenized(texts, encoder)
    tokens = tf.RaggedTensor.from_row_splits(packed.flat, packed.row_splits).to_tensor(shape=[None, PADDED])
    backbone = encoder.backbone
    backbone.trainable = True
    if lora:
        backbone.enable_lora(8)
    variables = backbone.trainable_variables
    optimizer = keras.optimizers.AdamW(1e-5)
    optimizer.build(variables)
    goal = tf.constant(np.random.default_rng(1).standard_normal((len(texts), encoder.width)), tf.float32)

    def step() -> Any:
        mask = tf.cast(tokens > 0, tf.int32)
        with tf.GradientTape() as tape:
            inputs = {"token_ids": tokens, "padding_mask": mask, "segment_ids": tf.zeros_like(tokens)}
            states = backbone(inputs, training=False)["sequence_output"]
            kept = tf.cast(mask, tf.float32)[:, :, tf.newaxis]
            vectors = tf.reduce_sum(states * kept, axis=1) / tf.reduce_sum(kept, axis=1)
            loss = tf.reduce_mean(vectors * goal)
        slopes = tape.gradient(loss, [variable.value for variable in variables])
        pairs = [
            (tf.convert_to_tensor(slope), variable)
            for slope, variable in zip(slopes, variables, strict=True)
            if slope is not None
        ]
        optimizer.apply_gradients(pairs)
        return loss

    run = tf.function(step, autograph=False)
    return lambda: run().numpy()


def _ours(name: str, texts: list[str], items: Any, text: dict[str, Any]) -> Callable[[], Any]:
    """A step of the product's text tower on the same items."""
    import numpy as np

    from trainer.keras_compat import tf
    from trainer.text_encoder import load_text_encoder
    from trainer.text_modes.rows import TextRows
    from trainer.text_modes.tower import TextTower
    from trainer.train_config import TrainConfig

    encoder = load_text_encoder(name, max_tokens=64, max_characters=2048)
    tower = TextTower(encoder, TextRows.of(texts, []), TrainConfig.model_validate({"text": text}))
    tower.compile(1000)
    rows = tf.constant(items, tf.int32)
    goal = tf.constant(np.random.default_rng(1).standard_normal((len(items), encoder.width)), tf.float32)

    def step() -> Any:
        with tf.GradientTape() as tape:
            vectors, _ = tower.of_step(rows, rows[:0], None)
            loss = tf.reduce_mean(vectors * goal)
        tower.learn(tape.gradient(loss, [variable.value for variable in tower.bert.variables]))
        return loss

    run = tf.function(step, autograph=False)
    return lambda: run().numpy()


def _show(took: dict[str, list[float]], title: str) -> None:
    table = Table(title=title)
    for column in ("step", "ms", "least", "greatest", "naive full / this", "naive lora / this"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, times in took.items():
        ratios = [
            [before / now for before, now in zip(took.get(naive, ()), times, strict=naive in took)]
            for naive in (FULL, LORA)
        ]
        figures = [statistics.median(times), min(times), max(times)]
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures), *map(_spread, ratios))
    _CONSOLE.print(table)


def _spread(ratios: list[float]) -> str:
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


@main.command()
@_CONFIG
@_ENCODER
@click.option("--mode", default="full", show_default=True, type=click.Choice(["lora", "top_layers", "full"]))
@click.option("--batch", default=4096, show_default=True, help="Histories of a step.")
@click.option("--history", type=int, help="Events of a history, instead of the configuration's.")
@click.option("--pieces", default=8192, show_default=True, help="train.text.pieces_at_once.")
@click.option("--steps", "count", default=2, show_default=True, help="Steps to take.")
def memory(
    config: Path, encoder: str | None, mode: str, batch: int, history: int | None, pieces: int, count: int
) -> None:
    """Takes training steps and reports the greatest memory of the process."""
    from trainer.config import load_config
    from trainer.dataset import DatasetDirectory
    from trainer.input import training_batches, training_windows
    from trainer.keras_compat import tf
    from trainer.optimizers.make import make_optimizer
    from trainer.workbench import Workbench

    document = load_config(config).model_dump(mode="json")
    train = document["train"] | {"batch_size": batch}
    train["text"] |= {"mode": mode, "pieces_at_once": pieces, "encoder": encoder}
    train["retrieval"] |= {"queries_per_step": 2 * batch}
    train["model"]["item"] |= {"whiten_text": False}
    train["model"]["history"] |= {"max_length": history} if history else {}
    project = load_config(config).model_validate(document | {"train": train})
    dataset = DatasetDirectory.open(project.dataset_dir(project.features.splits[0]))
    bench = Workbench.open(project, dataset, _CONSOLE)
    model, tower, windows = bench.model, bench.model.text_tower, training_windows(bench.train, project.train)
    assert tower is not None
    model.compile(optimizer=make_optimizer(project.train, 100), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    tower.compile(100)
    batches = iter(training_batches(bench.preparation, bench.train, windows, project.train, 0))
    step = tf.function(model.train_step, autograph=False)
    _CONSOLE.print(f"before the first step: {_greatest():.2f} GiB")
    for number in range(1, count + 1):
        data = next(batches)
        texts, size = _texts_of(tower, data["items"].numpy())
        began = time.perf_counter()
        loss = float(step(data)["loss"])
        _CONSOLE.print(
            f"step {number}: {len(data['items']):,} histories, at least {texts:,} distinct texts of {size:,} word "
            f"pieces, loss {loss:.3f}, {time.perf_counter() - began:.0f} s, greatest memory {_greatest():.2f} GiB"
        )


def _texts_of(tower: Any, items: Any) -> tuple[int, int]:
    """Distinct texts of a batch's own items, and their word pieces."""
    import numpy as np

    rows = np.setdiff1d(tower.rows.items[np.unique(items[items >= 0])], [0])
    return len(rows), int(tower._lengths.numpy()[rows].sum())


def _greatest() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
