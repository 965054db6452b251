"""What an export stores the text tower as, with a measurement of what that costs and a limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from trainer.config import ProjectConfig
from trainer.errors import ExportError
from trainer.quantisation import StoredBert, bytes_of
from trainer.text_queries import TextQueries
from trainer.vector_agreement import cosine_figures
from trainer.workbench import Workbench

_QUERIES = 1024


def with_text_precision(
    config: ProjectConfig, bench: Workbench, console: Console
) -> tuple[Workbench, dict[str, Any]]:
    """The workbench with the text tower that is exported, and what `serving.json` says of it.

    Items keep the vectors that the float32 tower gave them; texts of requests are read by the smaller one.

    Args:
        config: `export.text_precision` and its limit.
        bench: The trained model.
        console: For what was measured.

    Raises:
        ExportError: the smaller tower costs more than `export.text_precision_max_loss`.
    """
    precision = config.export.text_precision
    if bench.encoder is None or precision == "float32":
        return bench, {"precision": "float32"}
    full = bench.encoder
    stored = full.with_bert(StoredBert(full.bert, precision))
    asked = TextQueries.drawn(bench, config.train, _QUERIES)
    before, after = (
        _encoded(encoder, asked.texts, config.train.text.batch_size) for encoder in (full, stored)
    )
    facts: dict[str, Any] = {
        "precision": precision,
        "bytes": bytes_of(stored.bert.variables),
        "bytes_float32": bytes_of(full.bert.variables),
        "cosine": cosine_figures(after, before),
    }
    if bench.model.query_tower.text_width and len(asked.texts):
        facts |= _loss(asked.ndcg(bench, before), asked.ndcg(bench, after), len(asked.texts))
    console.print(_summary(facts))
    limit = config.export.text_precision_max_loss
    if facts.get("loss", 0.0) > limit:
        raise ExportError(
            f"The model was not published: with export.text_precision = {precision!r} NDCG@10 on validation queries "
            f"with text falls from {facts['ndcg@10_float32']:.4f} to {facts['ndcg@10']:.4f}, by {facts['loss']:.2%}; "
            f"export.text_precision_max_loss allows {limit:.2%}. Take a greater precision, or raise the limit."
        )
    return replace(bench, encoder=stored), facts


def _encoded(encoder: Any, texts: list[str], batch_size: int) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = encoder.encode_all(texts, batch_size)
    return vectors


def _loss(before: float, after: float, queries: int) -> dict[str, float]:
    return {
        "queries": queries,
        "ndcg@10_float32": before,
        "ndcg@10": after,
        "loss": max(0.0, (before - after) / before) if before else 0.0,
    }


def _summary(facts: dict[str, Any]) -> str:
    said = (
        f"Text tower in {facts['precision']}: {facts['bytes'] / 2**20:.1f} MiB instead of "
        f"{facts['bytes_float32'] / 2**20:.1f}; cosine {facts['cosine']['mean']:.5f} (least "
        f"{facts['cosine']['min']:.5f})"
    )
    if "loss" not in facts:
        return f"{said}."
    return f"{said}; NDCG@10 on queries with text {facts['ndcg@10']:.4f} instead of {facts['ndcg@10_float32']:.4f}."
