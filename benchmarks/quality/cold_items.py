"""Hides a share of Amazon Beauty's items from training, to measure how a model ranks items that it never saw.

A hidden item keeps its title in the catalogue and stays what it was where it is a test target; every other event of it
is taken out of its user's sequence, so it is in no history and no validation target. What comes out has the names and
the form of the original files:

    python benchmarks/quality/cold_items.py --data $TWOTOWER_DATA --out cold
    export TWOTOWER_DATA=$PWD/cold
    twotower features build examples/amazon-beauty.toml     and so on, as with the original
"""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

import click
import numpy as np

_FOLDER = "amazon-beauty"
_SEQUENCES = "sequential.txt.xz"
_ITEMS = "items.tsv.xz"
_SHORTEST = 3  # one event each for training, validation and test


def hide(sequence: list[str], hidden: set[str]) -> list[str]:
    """A user's items without hidden ones, except as the last item, which is the test target."""
    return [item for item in sequence[:-1] if item not in hidden] + sequence[-1:]


def choose_hidden(sequences: list[list[str]], share: float, seed: int) -> set[str]:
    """A share of the items that have events, drawn uniformly."""
    items = sorted({item for sequence in sequences for item in sequence})
    chosen = np.random.default_rng(seed).permutation(len(items))[: round(share * len(items))]
    return {items[index] for index in chosen}


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with amazon-beauty/.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write amazon-beauty/ into."
)
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1, show_default=True
)
@click.option("--seed", default=7, show_default=True, help="Of the draw.")
def main(data: Path, out: Path, share: float, seed: int) -> None:
    """Writes the changed sequences and copies the items."""
    with lzma.open(data / _FOLDER / _SEQUENCES, "rt") as lines:
        rows = [line.split() for line in lines]
    hidden = choose_hidden([items for _, *items in rows], share, seed)
    kept = [(user, hide(items, hidden)) for user, *items in rows]
    kept = [(user, items) for user, items in kept if len(items) >= _SHORTEST]
    target = out / _FOLDER
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / _FOLDER / _ITEMS, target / _ITEMS)
    with lzma.open(target / _SEQUENCES, "wt") as lines:
        lines.writelines(f"{' '.join([user, *items])}\n" for user, items in kept)
    asked = sum(items[-1] in hidden for _, items in kept)
    click.echo(
        f"{len(hidden):,} items hidden; {len(kept):,} of {len(rows):,} users left, "
        f"{asked:,} of them with a hidden item as test target. Written to {target}."
    )


if __name__ == "__main__":
    main()
