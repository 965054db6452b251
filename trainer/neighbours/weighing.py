"""After training: how much neighbours, the words of histories and the ranking head count beside retrieval."""

from __future__ import annotations

from rich.console import Console

from trainer.config import TrainConfig
from trainer.lexical import LEXICAL
from trainer.neighbours.blend import choose_blend, describe, use_neighbours, write_blend
from trainer.neighbours.history_words import choose_history_words
from trainer.neighbours.table import NeighbourTable
from trainer.neighbours.weights import Blend
from trainer.run import RunDirectory
from trainer.scoring import ModelScorer
from trainer.validation import validation_queries
from trainer.workbench import Workbench

_QUERIES = 8192


def weigh_opinions(config: TrainConfig, bench: Workbench, run: RunDirectory, console: Console) -> None:
    """Chooses how much each opinion counts, and leaves that in the model and in the run.

    More validation events decide than epochs are compared by.

    Args:
        config: Of the training.
        bench: With the model, at its best epoch.
        run: Gets `blend.json`, and the table of neighbours if they count.
        console: For progress and the outcome.

    Raises:
        DatasetError: no validation event has an item of the catalogue.
    """
    model, catalogue = bench.model, bench.preparation.catalogue
    # A run that was killed after this was written has loaded it.
    model.blend, model.neighbours = Blend(), None
    sequences, queries = validation_queries(bench, config, _QUERIES)
    if model.sketch is not None:
        retrieval = ModelScorer(model, bench.preparation, sequences, queries, rerank=False)
        sketches = model.known_catalogue.inputs[LEXICAL].numpy()
        with console.status("Weighing the words of histories ..."):
            model.blend = choose_history_words(
                model, retrieval, queries, sketches, exclude_history=retrieval.exclude_history
            )
    table = None
    if config.ranking.neighbours and catalogue.trained > 1:
        with console.status(f"Finding neighbours of {catalogue.trained:,} items ..."):
            table = NeighbourTable.learned(
                bench.train.items, bench.train.row_splits, catalogue.trained, config.ranking.neighbours
            )
        use_neighbours(model, table)
    scorer = ModelScorer(model, bench.preparation, sequences, queries, rerank=True)
    model.blend, figures = choose_blend(model, scorer, queries)
    run.neighbours_file.unlink(missing_ok=True)
    if table is not None and model.blend.neighbours:
        table.save(run.neighbours_file)
    write_blend(run, model.blend, figures)
    console.print(describe(model.blend, figures))
