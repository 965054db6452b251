"""Do words that are not wanted lower their items? Pairs made of real titles, asked of a trained model.

A pair is a wish ("a horror film") and something to be spared that answers it: a well-known film, or a brand. Three
texts are asked, without history: the wish, the wish without the other thing ("a horror film, not Alien"), and the same
with its cue hidden in a capital letter, which reads it as one text, as encoders do.

    python benchmarks/negation.py examples/movielens-100k.toml
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from trainer.catalogue import Catalogue
from trainer.config import load_config
from trainer.dataset import DatasetDirectory
from trainer.keras_compat import tf
from trainer.run import RunDirectory
from trainer.scoring import encode_catalogue
from trainer.training import load_best
from trainer.wishes import split_wishes, wish_vectors
from trainer.workbench import Workbench

GENRES = {
    "Sci-Fi": "a science fiction film", "Horror": "a horror film", "Comedy": "a comedy", "Western": "a western",
    "Animation": "an animated film", "War": "a war film", "Musical": "a musical", "Romance": "a romance",
    "Thriller": "a thriller", "Crime": "a crime film",
}  # fmt: skip
KINDS = (
    "nail polish", "shampoo", "mascara", "lipstick", "perfume", "sunscreen", "eye shadow", "body lotion", "hair color",
    "face mask",
)  # fmt: skip
EACH = 8


@dataclass(frozen=True)
class Pair:
    """A wish, what is to be spared, and which items are either.

    Attributes:
        wish: Words for what is wanted.
        name: Words for what is not.
        named: bool [N] items that the name means.
        kind: bool [N] items that the wish means.
    """

    wish: str
    name: str
    named: Any
    kind: Any


def film_pairs(catalogue: Catalogue, column: str) -> list[Pair]:
    """The most watched films of each genre."""
    pairs = []
    for genre, wish in GENRES.items():
        kind = np.asarray([genre in row for row in catalogue.columns[column]])
        for row in np.argsort(-np.where(kind, catalogue.counts, -1), kind="stable")[:EACH]:
            title = re.sub(r"\s*\(\d{4}\).*|, (The|A|An)\b.*", "", catalogue.titles[row])
            pairs.append(Pair(wish, title, np.arange(len(catalogue)) == row, kind))
    return pairs


def brand_pairs(catalogue: Catalogue) -> list[Pair]:
    """The most frequent first words of the products of each kind."""
    words = [[word.strip(".,") for word in title.lower().split()] for title in catalogue.titles]
    pairs = []
    for wish in KINDS:
        kind = np.asarray([set(wish.split()) <= set(title) for title in words])
        brands = Counter(
            title[0] for title, one in zip(words, kind, strict=True) if one and title[0] not in wish
        )
        for brand, _ in brands.most_common(EACH):
            pairs.append(Pair(wish, brand, np.asarray([brand in title for title in words]), kind))
    return pairs


def texts_of(pair: Pair) -> list[str]:
    """What is asked: the wish, the wish without the name, and that read as one text."""
    return [pair.wish, f"{pair.wish}, not {pair.name}", f"{pair.wish}, Not {pair.name}"]


def ranks(bench: Workbench, texts: list[str], vectors: Any) -> Any:
    """Int [Q, N] places of all items, from 1, for texts of somebody without history."""
    model, encoder = bench.model, bench.encoder
    assert encoder is not None
    rows, width = len(texts), vectors.shape[1]
    history = {"vectors": tf.zeros([rows, 1, width]), "mask": tf.zeros([rows, 1], tf.bool)}
    history |= {"timestamps": tf.zeros([rows, 1], tf.int64), "events": tf.zeros([rows, 1], tf.int32)}
    user = bench.preparation.user_lookup(_nobody(bench, rows)) if model.config.model.user_features else None
    words = tf.constant(texts)
    said = wish_vectors(
        split_wishes(words), lambda part: tf.constant(encoder.encode_all(part.numpy().tolist(), 64))
    )
    queries = model.encode_queries(history, user or None, said, words)
    scores = model.retrieval_scores(queries, vectors).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(scores.shape[1])[np.newaxis] + 1, axis=1)
    return places


def _nobody(bench: Workbench, rows: int) -> dict[str, Any]:
    specs = bench.model.spec.user_specs
    missing: dict[str, Any] = {one.name: tf.fill([rows], "") for one in specs.categories}
    return missing | {one.name: tf.fill([rows], np.float32(np.nan)) for one in specs.numerics}


def figures(pairs: list[Pair], places: Any) -> dict[str, float]:
    """What is reported of int [3 P, N] places of the texts of P pairs."""
    best = np.asarray(
        [[places[3 * n + way][pair.named].min() for way in range(3)] for n, pair in enumerate(pairs)]
    )
    kind = np.asarray(
        [[pair.kind[places[3 * n + way] <= 10].mean() for way in range(3)] for n, pair in enumerate(pairs)]
    )
    shown = np.asarray(
        [[pair.named[places[3 * n + way] <= 10].mean() for way in range(3)] for n, pair in enumerate(pairs)]
    )
    return {
        "lowered": float(np.mean(best[:, 1] > best[:, 0])),
        **{
            f"median_place_{way}": float(np.median(best[:, n]))
            for n, way in enumerate(("wish", "not", "one_text"))
        },
        **{f"named@10_{way}": float(shown[:, n].mean()) for n, way in enumerate(("wish", "not", "one_text"))},
        **{f"wanted@10_{way}": float(kind[:, n].mean()) for n, way in enumerate(("wish", "not", "one_text"))},
    }


@click.command()
@click.argument("config", type=click.Path(exists=True, path_type=Path))
@click.option("--split", default="leave_last_out", show_default=True, help="Whose run.")
@click.option(
    "--strengths", default="0,0.5,1,1.5,2", show_default=True, help="Of query_text.unwanted and _words."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(config: Path, split: str, strengths: str, file: Path | None) -> None:
    """Measure negated wishes on a finished run."""
    console, project = Console(), load_config(config)
    bench = Workbench.open(project, DatasetDirectory.open(project.dataset_dir(split)), console)
    load_best(bench.model, project.train, RunDirectory(project.run_dir(split)), console)
    catalogue, genre = bench.preparation.catalogue, bench.dataset.with_role("items", "item_category")
    pairs = film_pairs(catalogue, genre[0].name) if genre else brand_pairs(catalogue)
    vectors, texts = encode_catalogue(bench.model), [text for pair in pairs for text in texts_of(pair)]
    rows = {}
    for strength in map(float, strengths.split(",")):
        asked = project.train.query_text.model_copy(update={"unwanted": strength, "unwanted_words": strength})
        bench.model.config = project.train.model_copy(update={"query_text": asked})
        bench.model.query_tower.unwanted = strength
        rows[f"{strength:g}"] = figures(pairs, ranks(bench, texts, vectors))
    table = Table(title=f"{project.name}: {len(pairs)} pairs, {len(catalogue):,} items")
    for name in ("strength", *next(iter(rows.values()))):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.3g}" for value in row.values()))
    console.print(table)
    if file is not None:
        file.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
