"""Everything that is measured on the test events of one dataset, alike for the trained model and for baselines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.progress import Progress

from trainer.config import ProjectConfig
from trainer.diagnostics import describe_items
from trainer.errors import DatasetError
from trainer.evaluation.baselines.registry import candidates
from trainer.evaluation.baselines.tuning import tune
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.rank_file import KeptRanks, digest_of_queries
from trainer.evaluation.ranking import EvaluationResult, ItemFacts, Scorer, evaluate
from trainer.evaluation.report import Measured
from trainer.item_tower import TEXT
from trainer.preparation import item_texts
from trainer.scoring import ModelScorer, encode_catalogue
from trainer.sequences import Sequences, load_sequences, queries_of
from trainer.workbench import Workbench


@dataclass(frozen=True)
class Measurement:
    """The test events, and the model with its best weights.

    Attributes:
        config: The configuration file.
        bench: Data and model.
        test: The test split.
        queries: Its queries.
        validation: Queries of the validation split, on which baselines are tuned.
        item_vectors: float32 [N, D] tensor, the catalogue by the trained model.
        facts: The catalogue's counts and text vectors.
        bar: Shows progress.
    """

    config: ProjectConfig
    bench: Workbench
    test: Sequences
    queries: EvaluationQueries
    validation: EvaluationQueries
    item_vectors: Any
    facts: ItemFacts
    bar: Progress

    @classmethod
    def open(cls, config: ProjectConfig, bench: Workbench, bar: Progress) -> Measurement:
        """Loads the splits and encodes the catalogue.

        Raises:
            DatasetError: there are no test events.
        """
        catalogue = bench.preparation.catalogue
        test = load_sequences(bench.dataset, "test", catalogue)
        queries = queries_of(test)
        if not len(queries):
            raise DatasetError(
                f"{bench.dataset.path}: the test split has no event whose item is in the catalogue."
            )
        validation = queries_of(load_sequences(bench.dataset, "validation", catalogue))
        text = bench.model.known_catalogue.inputs.get(TEXT)
        facts = ItemFacts(catalogue.counts, text.numpy() if text is not None else None)
        return cls(config, bench, test, queries, validation, encode_catalogue(bench.model), facts, bar)

    def scorer(self, *, rerank: bool, exclude_history: bool) -> ModelScorer:
        """The trained model."""
        return ModelScorer(
            self.bench.model,
            self.bench.preparation,
            self.test,
            self.queries,
            rerank=rerank,
            exclude_history=exclude_history,
            item_vectors=self.item_vectors,
        )

    def model_row(self, *, rerank: bool) -> Measured:
        """The trained model, re-ranked or by retrieval alone."""
        name = "two-tower, ranked" if rerank else "two-tower, retrieval"
        result, other, seconds = self._measure(
            name, lambda exclude: self.scorer(rerank=rerank, exclude_history=exclude)
        )
        return Measured(name, result, "model", seconds={"evaluate": seconds}, other_protocol=other)

    def baseline_row(self, name: str) -> Measured:
        """Tunes a baseline on the validation events and fits it on the training events."""
        preparation, train, seed = self.bench.preparation, self.bench.train, self.config.train.seed
        grid = list(candidates(name, texts=item_texts(preparation), seed=seed))
        task = self.bar.add_task(f"tuning {name}", total=len(grid))
        began = time.monotonic()
        baseline = tune(
            grid,
            train.items,
            train.row_splits,
            len(preparation.catalogue),
            self.validation,
            exclude_history=self.config.excludes_history,
            seed=seed,
            progress=lambda done: self.bar.update(task, completed=done),
        ).best
        tuned = round(time.monotonic() - began, 2)
        scorer = baseline.scorer(self.queries)
        result, other, seconds = self._measure(baseline.name, lambda _: scorer)
        took = {"tune": tuned, "evaluate": seconds}
        return Measured(baseline.name, result, "baseline", baseline.settings(), took, other)

    def ranks(self, rows: list[Measured]) -> KeptRanks:
        """The rank of every target by every row."""
        digest = digest_of_queries(
            self.queries, self.bench.preparation.catalogue.item_ids, self.test.user_ids
        )
        return KeptRanks(digest, self.queries.sequence, {row.name: row.result.ranks for row in rows})

    def diagnostics(self) -> dict[str, float]:
        """What the trained item vectors are like."""
        return describe_items(self.bench.model.learned(self.item_vectors).numpy())

    def _measure(
        self, name: str, scorer_for: Callable[[bool], Scorer]
    ) -> tuple[EvaluationResult, EvaluationResult | None, float]:
        """The configured protocol, the other one if it is wanted, and the seconds of the first.

        Args:
            name: For the progress bar.
            scorer_for: Gives the scorer for `exclude_history`.
        """
        excludes = self.config.excludes_history
        began = time.monotonic()
        result = self._evaluate(name, scorer_for(excludes), excludes, self.facts)
        seconds = round(time.monotonic() - began, 2)
        if not self.config.evaluate.both_protocols:
            return result, None, seconds
        other = not excludes
        where = "left out" if other else "kept in"
        return result, self._evaluate(f"{name}, history {where}", scorer_for(other), other, None), seconds

    def _evaluate(
        self, name: str, scorer: Scorer, exclude_history: bool, facts: ItemFacts | None
    ) -> EvaluationResult:
        task = self.bar.add_task(name, total=len(self.queries))
        return evaluate(
            self.queries,
            scorer,
            self.config.evaluate.ks,
            exclude_history,
            progress=lambda done, _: self.bar.update(task, completed=done),
            facts=facts,
        )
