"""Finds items by words alone: a trained model beside BM25 and TF-IDF, asked with the words of held-out items.

Asked for are items without a training event (all of them, or a sample of --items), so that no ID vector can know
them; where the dataset has too few, `benchmarks/quality/cold_items.py` makes some. Three kinds of query are made of
each, drawn by a seed: its title, half of its title's words, and three words of its text. The asker has no history.
Ranks are those in the whole catalogue, ties against the method; items with the very same text stand for one another.

    python benchmarks/quality/free_text.py examples/amazon-beauty.toml
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from trainer.config import load_config
from trainer.dataset import DatasetDirectory
from trainer.evaluation.baselines.item_text import ItemText, TextIndex, Weighting
from trainer.evaluation.intervals import bootstrap_intervals
from trainer.keras_compat import tf
from trainer.live import LiveModel
from trainer.preparation import item_texts
from trainer.run import RunDirectory
from trainer.scoring import encode_catalogue
from trainer.signatures import signature_inputs
from trainer.training import load_best
from trainer.workbench import Workbench

Floats = npt.NDArray[np.float32]
_LEXICAL: tuple[Weighting, ...] = ("bm25", "tf-idf")


def queries_of(titles: Sequence[str], texts: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Queries by kind, one an item."""
    rng = np.random.default_rng(seed)

    def some(text: str, count: int) -> str:
        words = text.split()
        kept = np.sort(rng.permutation(len(words))[: max(1, count)])
        return " ".join(words[place] for place in kept)

    return {
        "title": list(titles),
        "half of the title": [some(title, len(title.split()) // 2) for title in titles],
        "three words": [some(text, 3) for text in texts],
    }


def ranks(
    scores: Floats, wanted: npt.NDArray[np.int64], group: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """1-based ranks of the wanted items; others of the same group neither help nor hurt.

    Args:
        scores: float32 [Q, N].
        wanted: int64 [Q] items.
        group: int64 [N] equal for items that stand for one another.
    """
    own = np.take_along_axis(scores, wanted[:, None], axis=1)
    rivals = group[None, :] != group[wanted][:, None]
    return 1 + np.count_nonzero((scores >= own) & rivals, axis=1)


def model_scores(bench: Workbench, texts: Sequence[str]) -> Floats:
    """float32 [Q, N] of queries without history."""
    live = LiveModel(bench, k=1, max_history=1)
    inputs = {
        name: np.asarray([_empty(spec)] * len(texts), object if spec.dtype == tf.string else None)
        for name, spec in signature_inputs(bench.model, bench.preparation.item_text).query_side.items()
    }
    inputs["query"] = np.asarray([text.encode() for text in texts], object)
    queries = live.answer("embed_query", inputs)["embedding"]
    scores: Floats = bench.model.retrieval_scores(queries, encode_catalogue(bench.model)).numpy()
    return scores


def _empty(spec: Any) -> Any:
    value: Any = {tf.string: b"", tf.float32: np.float32("nan")}.get(spec.dtype, 0)
    return [value] if spec.shape.rank == 2 else value


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--split", default="leave_last_out", show_default=True, help="Which run.")
@click.option("--items", default=1000, show_default=True, help="At most this many items are asked for.")
@click.option("--warm", is_flag=True, help="Ask for items with training events instead.")
@click.option("--seed", default=7, show_default=True, help="Of the sample and the words.")
def main(config: Path, split: str, items: int, warm: bool, seed: int) -> None:
    """Asks and prints a table."""
    console = Console()
    project = load_config(config)
    dataset = DatasetDirectory.open(project.dataset_dir(split))
    bench = Workbench.open(project, dataset, console)
    load_best(bench.model, project.train, RunDirectory(project.run_dir(split)))
    catalogue, texts = bench.preparation.catalogue, item_texts(bench.preparation)
    asked = np.flatnonzero(
        [bool(text) and (count > 0) == warm for text, count in zip(texts, catalogue.counts, strict=True)]
    )
    asked = np.sort(np.random.default_rng(seed).permutation(asked)[:items])
    group = np.unique(np.asarray(texts), return_inverse=True)[1]
    titles = [catalogue.titles[item] or texts[item] for item in asked]
    table = Table(
        "query", "method", "hit rate@10", "MRR@10", title=f"{len(asked):,} items, {len(texts):,} ranked"
    )
    for kind, queries in queries_of(titles, [texts[item] for item in asked], seed).items():
        methods = {"two-tower": model_scores(bench, queries)}
        for weighting in _LEXICAL:
            methods[weighting] = ItemText(TextIndex(texts, weighting)).score_texts(queries)
        for name, scores in methods.items():
            place = ranks(scores, asked, group)
            cells = []
            for values in ((place <= 10).astype(float), np.where(place <= 10, 1 / place, 0.0)):
                interval = bootstrap_intervals({kind: values}, np.arange(len(values)), seed=seed)[kind]
                cells.append(f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})")
            table.add_row(kind, name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
