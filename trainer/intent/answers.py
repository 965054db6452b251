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
from trainer.intent.vectors import Floats, joined, unit
from trainer.text_encoder import TextEncoder

_BATCH = 256
_KS = (1, 5)

Scorer = Callable[[slice], Floats]
"""float32 [B, N] how well the questions of a slice fit the N known ones."""


def answer_figures(
    score: Scorer, asked: npt.NDArray[np.int32], known: npt.NDArray[np.int32]
) -> dict[str, float]:
    """Recall@1, Recall@5 and mean reciprocal rank of the right answer among the distinct ones.

    An answer is as good as the best of its known questions.

    Args:
        score: Fits questions to the known ones. Of equal answers all others are taken to come first.
        asked: int32 [Q] answers that are right.
        known: int32 [N] answers of the known questions.
    """
    answers, numbers = np.unique(known, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    first = np.searchsorted(numbers[order], np.arange(len(answers)))
    ranks = np.zeros(len(asked), np.int64)
    for start in range(0, len(asked), _BATCH):
        part = slice(start, start + _BATCH)
        fits, right = (
            np.maximum.reduceat(score(part)[:, order], first, axis=1),
            asked[part, np.newaxis] == answers,
        )
        own = np.where(right, fits, -np.inf).max(axis=1, keepdims=True)
        ranks[part] = 1 + np.sum((fits >= own) & ~right, axis=1)
    figures = {f"recall@{k}": recall(ranks, k) for k in _KS} | {"mrr": mrr(ranks, len(answers))}
    return {name: float(values.mean()) if len(values) else 0.0 for name, values in figures.items()}


def answer_report(
    texts: tuple[Sequence[str], Sequence[str]],
    labels: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    vectors: tuple[Floats, Floats],
    encoder: TextEncoder,
) -> dict[str, Any]:
    """How well questions find their answers, by four ways of comparing them with known ones.

    Args:
        texts: Questions asked, and known.
        labels: int32 [Q] and [N], their answers.
        vectors: float32 [Q, E] and [N, E] of length 1, by the fine-tuned BERT.
        encoder: The BERT as it came.

    Returns:
        By name of the way the figures of `answer_figures`; the first is what an export serves.
    """
    asked, known = texts
    words = ItemText(TextIndex(known, "bm25"))
    plain, plain_known = (unit(encoder.encode_all(part, _BATCH)) for part in texts)
    both, both_known = joined(vectors[0], plain), joined(vectors[1], plain_known)
    scorers: dict[str, Scorer] = {
        "both encoders": lambda part: both[part] @ both_known.T,
        "fine-tuned": lambda part: vectors[0][part] @ vectors[1].T,
        "encoder as it came": lambda part: plain[part] @ plain_known.T,
        "BM25": lambda part: words.score_texts(asked[part]),
    }
    return {name: answer_figures(score, *labels) for name, score in scorers.items()}


def print_answers(report: dict[str, Any], console: Console, known: int) -> None:
    """One line a way of comparing."""
    table = Table(title=f"Answers found among those to {known:,} questions")
    table.add_column("by")
    for name in next(iter(report.values())):
        table.add_column(name, justify="right")
    for by, figures in report.items():
        table.add_row(by, *(f"{value:.4f}" for value in figures.values()))
    console.print(table)
