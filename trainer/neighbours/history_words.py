"""How much the words of a history count in retrieval, chosen on validation events over the whole catalogue.

People who bought a brand buy it again, which item vectors blur. The sketches of BM25 behind the vectors remember it:
those of the history's items are added up, the newest most, and asked for like words that were typed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainer.evaluation.metrics import ndcg
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import Scorer, history_pairs, ranks_of_targets
from trainer.model import TwoTowerModel
from trainer.neighbours.scores import recency
from trainer.neighbours.weights import Blend

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the spread of the learned scores
_HALF_LIVES = (None, 4.0, 2.0, 1.0)
_QUERIES_PER_BLOCK = 256
_SCORES = 100_000_000  # at most so many are compared for each setting
_K = 10

Floats = npt.NDArray[np.float32]


def choose_history_words(
    model: TwoTowerModel,
    scorer: Scorer,
    queries: EvaluationQueries,
    sketches: Floats,
    *,
    exclude_history: bool = True,
) -> Blend:
    """The model's blend with the weight of the history's words that gives retrieval the best NDCG@10; 0 if none does.

    Args:
        model: Whose blend does not hear them yet.
        scorer: Retrieval alone, on the queries.
        queries: Events that the model has not learned from.
        sketches: float32 [N, S] of the items of the catalogue.
        exclude_history: Whether items of the history leave the ranking.
    """
    few = max(_QUERIES_PER_BLOCK, _SCORES // max(1, len(sketches)))
    totals: dict[tuple[float, float | None], float] = {}
    unit = 0.0
    for start in range(0, min(few, len(queries)), _QUERIES_PER_BLOCK):
        stop = min(start + _QUERIES_PER_BLOCK, len(queries))
        learned, wanted = scorer(start, stop).copy(), queries.target_items()[start:stop]
        spread = float(learned.std())
        if exclude_history:
            learned[history_pairs(queries, start, stop)] = -np.inf
        histories = queries.histories(start, stop, model.config.model.history.max_length)
        totals[0.0, None] = totals.get((0.0, None), 0.0) + _gain(learned, wanted)
        for half_life in _HALF_LIVES:
            said = history_sketches(histories, sketches, half_life) @ sketches.T
            unit = unit or spread / max(float(said.std()), 1e-9)  # one unit for all blocks and half-lives
            for share in _SHARES:
                key = share * unit, half_life
                totals[key] = totals.get(key, 0.0) + _gain(learned + np.float32(key[0]) * said, wanted)
    factor, half_life = max(totals, key=lambda key: (totals[key], -key[0]))
    return replace(model.blend, history_words=factor, words_half_life=half_life)


def history_sketches(histories: npt.NDArray[np.int32], sketches: Floats, half_life: float | None) -> Floats:
    """float32 [B, S]: the sketches of histories int32 [B, L], oldest first, -1 = padding, weighed by recency."""
    weights = recency(histories >= 0, half_life).numpy()
    total: Floats = np.einsum("bl,bls->bs", weights, sketches[np.maximum(histories, 0)])
    return total


def _gain(scores: Floats, wanted: npt.NDArray[np.int32]) -> float:
    return float(ndcg(ranks_of_targets(scores, wanted), _K).sum())
