"""Answers to a question: those that belong to the most similar questions answered before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from trainer.evaluation.baselines.item_text import ItemText, TextIndex
from trainer.evaluation.metrics import mrr, recall
from trainer.intent.vectors import Floats, unit
from trainer.text_encoder import TextEncoder

_BATCH = 256
_KS = (1, 5)

Scorer = Callable[[slice], Floats]
"""float32 [B, N] how well the questions of a slice fit the N known ones."""


def answer_figures(
    score: Scorer, asked: npt.NDArray[np.int32], known: npt.NDArray[np.int32]
) -> dict[str, float]:
    """Recall@1, Recall@5 and the mean reciprocal rank of the first known question with the same answer.

    Args:
        score: Fits questions to the known ones. Of equal scores all others are taken to come first.
        asked: int32 [Q] answers that are right.
        known: int32 [N] answers of the known questions.
    """
    ranks = np.zeros(len(asked), np.int64)
    for start in range(0, len(asked), _BATCH):
        part = slice(start, start + _BATCH)
        scores, right = score(part), asked[part, np.newaxis] == known
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[part] = 1 + np.sum((scores >= best) & ~right, axis=1)
    figures = {f"recall@{k}": recall(ranks, k) for k in _KS} | {"mrr": mrr(ranks, len(known))}
    return {name: float(values.mean()) if len(values) else 0.0 for name, values in figures.items()}


def answer_report(
    texts: tuple[Sequence[str], Sequence[str]],
    labels: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    vectors: tuple[Floats, Floats],
    encoder: TextEncoder,
) -> dict[str, Any]:
    """How well questions find known ones with the same answer, by three ways of comparing them.

    Args:
        texts: Questions asked, and known.
        labels: int32 [Q] and [N], their answers.
        vectors: float32 [Q, E] and [N, E] of length 1, by the fine-tuned BERT.
        encoder: The BERT as it came.

    Returns:
        By name of the way the figures of `answer_figures`.
    """
    asked, known = texts
    words = ItemText(TextIndex(known, "bm25"))
    plain, plain_known = (unit(encoder.encode_all(part, _BATCH)) for part in texts)
    scorers: dict[str, Scorer] = {
        "fine-tuned": lambda part: vectors[0][part] @ vectors[1].T,
        "encoder as it came": lambda part: plain[part] @ plain_known.T,
        "BM25": lambda part: words.score_texts(asked[part]),
    }
    return {name: answer_figures(score, *labels) for name, score in scorers.items()}


def print_answers(report: dict[str, Any], console: Console, known: int) -> None:
    """One line a way of comparing."""
    table = Table(title=f"Questions with the same answer, found among {known:,}")
    table.add_column("by")
    for name in next(iter(report.values())):
        table.add_column(name, justify="right")
    for by, figures in report.items():
        table.add_row(by, *(f"{value:.4f}" for value in figures.values()))
    console.print(table)
