"""Validation queries that say in words what is wanted, to measure text towers by.

Data without queries of its own is asked what training asks: one of the texts that stand for a user's words for the
item (`trainer/query_views.py`), drawn by the seed, beside the history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.config import TrainConfig
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.preparation import item_texts
from trainer.query_views import query_views
from trainer.scoring import ModelScorer
from trainer.sequences import Sequences, load_sequences
from trainer.workbench import Workbench

Encode = Callable[[list[str]], npt.NDArray[np.float32]]
"""float32 [Q, E] vectors of Q texts."""
_K = 10


@dataclass(frozen=True)
class TextQueries:
    """Queries with a text each.

    Attributes:
        sequences: The split they come from.
        queries: Q held-out events.
        texts: [Q] what is asked beside the history.
    """

    sequences: Sequences
    queries: EvaluationQueries
    texts: list[str]

    @classmethod
    def drawn(cls, bench: Workbench, config: TrainConfig, size: int) -> TextQueries:
        """At most `size` queries of the validation split."""
        preparation = bench.preparation
        sequences = load_sequences(bench.dataset, "validation", preparation.catalogue)
        every = EvaluationQueries.from_sequences(
            sequences.items, sequences.row_splits, sequences.target_start
        )
        queries = every.sample(size, config.seed)
        views = query_views(bench.dataset, preparation.catalogue, item_texts(preparation), config)
        drawn = np.random.default_rng(config.seed).integers(0, len(views), len(queries))
        targets = queries.target_items()
        return cls(sequences, queries, [views[view][item] for view, item in zip(drawn, targets, strict=True)])

    def ndcg(
        self, bench: Workbench, vectors: npt.NDArray[np.float32] | None = None, item_vectors: Any = None
    ) -> float:
        """NDCG@10 of the re-ranked lists, as `recommend` gives them.

        Args:
            bench: The model.
            vectors: float32 [Q, E] of the texts; None asks by the history alone.
            item_vectors: float32 [N, D] of the catalogue; by default the model's.
        """
        scorer = ModelScorer(
            bench.model,
            bench.preparation,
            self.sequences,
            self.queries,
            rerank=True,
            query_texts=vectors,
            item_vectors=item_vectors,
        )
        result = evaluate(self.queries, scorer, (_K,), scorer.exclude_history)
        return float(result.metrics[f"ndcg@{_K}"])
