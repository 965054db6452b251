"""What the student lost and what it gained, beside its teacher."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from trainer.config import TrainConfig
from trainer.item_tower import TEXT
from trainer.keras_compat import tf
from trainer.model import TwoTowerModel
from trainer.preparation import item_texts
from trainer.scoring import encode_catalogue
from trainer.text_encoder import TextEncoder
from trainer.text_queries import TextQueries
from trainer.workbench import Workbench

_QUERIES = 1024
_ROUNDS = 9
_BATCHES = (1, 32, 256)


def ndcg_figures(bench: Workbench, config: TrainConfig, student: TextEncoder) -> dict[str, dict[str, float]]:
    """NDCG@10 on validation queries, the trained towers reading the teacher's vectors, then the student's.

    The student takes the teacher's place everywhere: items get new vectors, and queries with text too.
    """
    assert bench.encoder is not None  # noqa: S101  callers have refused models without text
    asked = TextQueries.drawn(bench, config, _QUERIES)
    figures = {}
    for name, encoder in (("teacher", bench.encoder), ("student", student)):
        batch = config.text.batch_size
        items = None
        if name == "student":
            items = _item_vectors(bench.model, encoder.encode_all(item_texts(bench.preparation), batch))
        figures[name] = {"history": asked.ndcg(bench, item_vectors=items)}
        if bench.model.query_tower.text_width:
            figures[name]["with_text"] = asked.ndcg(bench, encoder.encode_all(asked.texts, batch), items)
    return figures


def _item_vectors(model: TwoTowerModel, texts: npt.NDArray[np.float32]) -> Any:
    """float32 [N, D] vectors of the catalogue with other text vectors, float32 [N, E]."""
    tables = model.known_catalogue
    model.catalogue = replace(tables, inputs=tables.inputs | {TEXT: tf.constant(texts)})
    try:
        return encode_catalogue(model)
    finally:
        model.catalogue = tables


def latency_figures(encoders: dict[str, TextEncoder], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Milliseconds for batches of 1, 32 and 256 texts, tokenizer included: medians, encoders in turns."""
    figures: dict[str, dict[str, float]] = {name: {} for name in encoders}
    for size in _BATCHES:
        batch = [texts[place % len(texts)] for place in range(size)]
        took: dict[str, list[float]] = {name: [] for name in encoders}
        for turn in range(_ROUNDS + 1):
            for name, encoder in encoders.items():
                began = time.perf_counter()
                encoder.encode_all(batch, size)
                if turn:  # the first call prepares the graph
                    took[name].append(1000 * (time.perf_counter() - began))
        for name, times in took.items():
            figures[name][f"batch_{size}_ms"] = round(statistics.median(times), 3)
    return figures


def size_figures(encoder: TextEncoder) -> dict[str, float]:
    """Layers, and MiB of float32 weights, with and without the table of word pieces."""
    backbone = encoder.backbone
    numbers = sum(int(np.prod(weight.shape)) for weight in backbone.weights)
    table = int(np.prod(backbone.token_embedding.embeddings.shape))
    return {
        "layers": len(backbone.transformer_layers),
        "mib": float(f"{4 * numbers / 2**20:.4g}"),
        "mib_without_word_pieces": float(f"{4 * (numbers - table) / 2**20:.4g}"),
    }


def print_distillation(report: dict[str, Any], console: Console) -> None:
    """Both text towers side by side."""
    teacher, student = report["teacher"], report["student"]
    cosine = report["cosine_to_teacher"]
    console.print(
        f"Cosine to the teacher on {report['texts']['held_out']:,} held-out texts: mean {cosine['mean']:.4f}, "
        f"5th percentile {cosine['p5']:.4f}, least {cosine['min']:.4f}."
    )
    table = Table(title="Text towers")
    for name in ("", "teacher", "student", "student / teacher"):
        table.add_column(name, justify="left" if not name else "right")
    for key in teacher:
        ratio = f"{student[key] / teacher[key]:.3f}" if teacher[key] else ""
        table.add_row(key, f"{teacher[key]:g}", f"{student[key]:g}", ratio)
    console.print(table)
