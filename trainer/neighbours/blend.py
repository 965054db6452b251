"""Chooses on validation events how much the ranking head and the neighbours count beside retrieval.

The head and the neighbours were both fitted to training events, where each looks better than it is: what they are
worth beside each other only events that none has seen can say (stacking; Jahrer, Töscher and Legenstein 2010, section
4). A few factors and half-lives are all that is chosen, so that some hundred events suffice. The words of the history
are weighed first, over the whole catalogue, because they change what is retrieved.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.errors import RunError
from trainer.evaluation import metrics
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import ranks_of_targets
from trainer.keras_compat import tf
from trainer.model import TwoTowerModel
from trainer.neighbours.table import NeighbourTable
from trainer.neighbours.weights import Blend
from trainer.run import RunDirectory, write_json
from trainer.scoring import ModelScorer

_CORRECTIONS = (0.0, 0.15, 0.3, 0.5, 0.7, 1.0)
_NEIGHBOURS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)  # in standard deviations of what neighbours say
_HALF_LIVES = (None, 16.0, 4.0, 2.0)
_QUERIES_PER_BLOCK = 256
_K = 10

Floats = npt.NDArray[np.float32]


def choose_blend(
    model: TwoTowerModel, scorer: ModelScorer, queries: EvaluationQueries
) -> tuple[Blend, dict[str, float]]:
    """The blend with the best NDCG@10 of the re-ranked candidates; of equal ones the one that changes least.

    Args:
        model: With its best weights, and its neighbours if it has any.
        scorer: Of the model on the queries.
        queries: Events that neither the model nor the neighbours have learned from.

    Returns:
        The blend, and NDCG@10 of "retrieval", of the whole "correction" without neighbours and of the "blend".
    """
    half_lives = _HALF_LIVES if model.neighbours is not None else ()
    opinions = (Blend(0.0), Blend(1.0), *(Blend(0.0, 1.0, half_life) for half_life in half_lives))
    parts = [_parts(scorer, queries, opinions, start) for start in range(0, len(queries), _QUERIES_PER_BLOCK)]
    scores, wanted = (np.concatenate(arrays, axis=-2) for arrays in zip(*parts, strict=True))
    blend, figures = best_blend(scores, wanted, half_lives)
    words = model.blend.history_words, model.blend.words_half_life
    return replace(blend, history_words=words[0], words_half_life=words[1]), figures


def best_blend(
    scores: Floats, wanted: npt.NDArray[np.bool_], half_lives: tuple[float | None, ...]
) -> tuple[Blend, dict[str, float]]:
    """Tries all blends.

    Args:
        scores: float32 [2 + H, Q, C] scores of candidates: retrieval's; with the whole correction; with each of the H
            half-lives' neighbours.
        wanted: bool [Q, C] the target of each query, if it is a candidate.
        half_lives: H of them.

    Returns:
        As `choose_blend`.
    """
    retrieval, correction = scores[0], scores[1] - scores[0]
    best, figures = Blend(0.0), {"retrieval": ndcg(retrieval, wanted), "correction": ndcg(scores[1], wanted)}
    reached = figures["retrieval"]
    for strength in _CORRECTIONS:
        corrected = retrieval + np.float32(strength) * correction
        for half_life, factor, total in _with_neighbours(corrected, scores[2:] - retrieval, half_lives):
            if (found := ndcg(total, wanted)) > reached:
                reached, best = found, Blend(strength, factor, half_life)
    return best, figures | {"blend": reached}


def _with_neighbours(corrected: Floats, opinions: Floats, half_lives: tuple[float | None, ...]) -> Any:
    yield None, 0.0, corrected
    for (half_life, opinion), share in itertools.product(
        zip(half_lives, opinions, strict=True), _NEIGHBOURS[1:]
    ):
        spread = float(opinion.std())
        if spread:
            factor = share / spread
            yield half_life, factor, corrected + np.float32(factor) * opinion


def ndcg(scores: Floats, wanted: npt.NDArray[np.bool_]) -> float:
    """Mean NDCG@10 of float32 [Q, C] scores of candidates with one target a row, or none; ties count against it."""
    rows, columns = np.nonzero(wanted)
    return float(metrics.ndcg(ranks_of_targets(scores[rows], columns), _K).sum() / max(1, len(wanted)))


def _parts(
    scorer: ModelScorer, queries: EvaluationQueries, opinions: tuple[Blend, ...], start: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    stop = min(start + _QUERIES_PER_BLOCK, len(queries))
    rows, scores = scorer.candidates(start, stop, opinions)
    return scores, rows == queries.target_items()[start:stop, np.newaxis]


def write_blend(run: RunDirectory, blend: Blend, figures: dict[str, float]) -> None:
    """Writes what was chosen, and what it was chosen by, into a run."""
    write_json(run.blend_file, {**asdict(blend), "validation_ndcg@10": figures})


def load_blend(model: TwoTowerModel, run: RunDirectory) -> None:
    """Gives a model the neighbours and the blend of its run; a run that chose none leaves it as it is.

    Raises:
        RunError: what the run has cannot be read.
    """
    if run.neighbours_file.exists():
        use_neighbours(model, NeighbourTable.load(run.neighbours_file))
    if run.blend_file.exists():
        try:
            chosen = json.loads(run.blend_file.read_text(encoding="utf-8"))
            chosen.pop("validation_ndcg@10", None)
            model.blend = Blend(**chosen)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"Cannot read {run.blend_file}: {error}. Train again with --overwrite.") from error


def use_neighbours(model: TwoTowerModel, table: NeighbourTable) -> None:
    """Gives a model the neighbours that its blend may ask."""
    model.neighbours = tf.constant(table.ids), tf.constant(table.weights)


def describe(blend: Blend, figures: dict[str, float]) -> str:
    """What was chosen and why, in a sentence or two for people."""
    words = (
        f"Retrieval: {blend.history_words:.3g} x the words of the history. " if blend.history_words else ""
    )
    listed = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    return (
        f"{words}Order of the candidates: {blend.correction:g} x the ranking head, {blend.neighbours:.3g} x the "
        f"neighbours. Validation NDCG@10 of {listed}."
    )
