"""The metrics agree with trec_eval, the reference implementation, by way of the library ir-measures."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest

from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate

KS = (1, 5, 10, 50)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("exclude_history", [True, False])
def test_metrics_agree_with_trec_eval_on_random_rankings(seed: int, exclude_history: bool):
    rng = np.random.default_rng(seed)
    items, lengths = 80, rng.integers(1, 12, 60)
    queries = EvaluationQueries.from_sequences(
        rng.integers(0, items, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]), lengths // 2
    )
    # All scores differ: trec_eval breaks ties by name, this project counts them against the model.
    scores = rng.permuted(np.tile(np.arange(items, dtype=np.float32), (len(queries), 1)), axis=1)
    result = evaluate(queries, lambda start, stop: scores[start:stop], KS, exclude_history, batch_size=32)

    targets = queries.target_items()
    row, seen = queries.seen(0, len(queries))
    hidden = set(zip(row.tolist(), seen.tolist(), strict=True)) if exclude_history else set()
    run = [
        ir_measures.ScoredDoc(str(query), str(item), float(scores[query, item]))
        for query in range(len(queries))
        for item in range(items)
        if (query, item) not in hidden or item == targets[query]
    ]
    relevant = [ir_measures.Qrel(str(query), str(item), 1) for query, item in enumerate(targets)]
    theirs = {
        "recall": ir_measures.R,
        "ndcg": ir_measures.nDCG,
        "mrr": ir_measures.RR,
        "hit_rate": ir_measures.Success,
    }
    expected = ir_measures.calc_aggregate(
        [measure @ k for measure in theirs.values() for k in KS], relevant, run
    )
    for name, measure in theirs.items():
        for k in KS:
            assert result.metrics[f"{name}@{k}"] == pytest.approx(expected[measure @ k], abs=1e-6), (name, k)
