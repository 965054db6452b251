"""How good a model is on validation events, by which epochs and settings are chosen."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from trainer.config import TrainConfig
from trainer.diagnostics import describe_items, top_item_share
from trainer.errors import DatasetError
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.scoring import ModelScorer, encode_catalogue
from trainer.sequences import Sequences, load_sequences, queries_of
from trainer.text_modes.training import refresh_texts
from trainer.workbench import Workbench

_METRICS = ("ndcg@10", "recall@10", "coverage@10")
_QUERIES = 2048  # enough to tell epochs apart; all of them are ranked by `twotower evaluate`


def epoch_figures(bench: Workbench, config: TrainConfig, console: Console) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch, on validation events.

    Args:
        bench: With the model that is trained.
        config: Of the training; its seed draws the events.
        console: For progress where texts are encoded anew.

    Returns:
        A function that gives metrics of retrieval ("val_...") and of re-ranked lists ("val_ranked_..."), and how alike
        items and answers have become (`trainer.diagnostics`).

    Raises:
        DatasetError: no validation event has an item of the catalogue.
    """
    sequences, queries = validation_queries(bench, config, _QUERIES)
    scorers = {
        prefix: ModelScorer(bench.model, bench.preparation, sequences, queries, rerank=rerank)
        for prefix, rerank in (("val_", False), ("val_ranked_", True))
    }

    def measure() -> dict[str, float]:
        refresh_texts(bench.model, console)
        vectors = encode_catalogue(bench.model)
        figures = describe_items(bench.model.learned(vectors).numpy())
        for prefix, scorer in scorers.items():
            scorer.refresh(vectors)
            result = evaluate(queries, scorer, (10,), scorer.exclude_history)
            figures |= {f"{prefix}{name}": result.metrics[name] for name in _METRICS}
            figures[f"{prefix}top_item_share@10"] = top_item_share(result.exposure, len(queries))
        return figures

    return measure


def validation_queries(
    bench: Workbench, config: TrainConfig, size: int
) -> tuple[Sequences, EvaluationQueries]:
    """At most `size` validation events, drawn by the seed, and the sequences that they are of.

    Raises:
        DatasetError: no validation event has an item of the catalogue.
    """
    sequences = load_sequences(bench.dataset, "validation", bench.preparation.catalogue)
    queries = queries_of(sequences).sample(size, config.seed)
    if not len(queries):
        raise DatasetError(
            f"{bench.dataset.path}: the validation split has no event whose item is in the catalogue."
        )
    return sequences, queries
