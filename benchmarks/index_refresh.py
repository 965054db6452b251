"""How long `twotower index refresh` takes: some new items into a large catalogue.

    python benchmarks/index_refresh.py --model saved_models/movielens-100k --items 1000000 --new 1000

A version of the model is written whose catalogue has been filled up to --items with invented items (random unit
vectors; what an index costs depends on its size and not on what is in it). Then --new items with texts are added by
the command's own code, first as changes and then as the whole catalogue, and each stage is timed: loading the old
version, reading and comparing the items, embedding with the model's text tower, rewriting variables and files, and
checking (lint, bits of what stayed, a fresh process that answers). Everything lies in a temporary folder, unless
--keep names another; with --prepare the large version is only written there, so that nothing but the refresh is
measured the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console

from trainer import contract
from trainer.export import read_facts
from trainer.keras_compat import tf
from trainer.refresh.checkpoint import read_variables, write_variables
from trainer.refresh.columns import categories
from trainer.refresh.digests import content_digest, write_digests
from trainer.refresh.embed_item import EmbedItem
from trainer.refresh.index_values import Rows, float_vectors, rewritten
from trainer.refresh.items_file import Item, is_list
from trainer.refresh.refresh import RefreshOptions, refresh
from trainer.run import write_json
from trainer.versions import newest_version, versions

_WORDS = (
    "a",
    "dark",
    "funny",
    "sad",
    "film",
    "about",
    "love",
    "war",
    "space",
    "cars",
    "of",
    "the",
    "lost",
    "city",
)


def described(item: str, inputs: dict, words: random.Random) -> dict:
    """Features of an invented item, of every input the model has."""
    row: dict = {"item_id": item, "title": item.capitalize()}
    for name, spec in inputs.items():
        if is_list(spec):
            row[name] = [words.choice(_WORDS)]
        elif spec.dtype == tf.string:
            row[name] = " ".join(words.choices(_WORDS, k=20))
        else:
            row[name] = [0.5] * spec.shape[1] if spec.shape.rank == 2 else 1990.0
    return row


def fill_up(source: Path, target: Path, rows: list[dict], inputs: dict) -> None:
    """Writes a version whose catalogue is that of `rows`, with random unit vectors."""
    before = read_variables(source)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(rows), float_vectors(before).shape[1]), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [row["item_id"] for row in rows]
    items = [Item(row["item_id"], row["title"], {name: row[name] for name in inputs}) for row in rows]
    new = Rows(
        ids=ids,
        origin=np.full(len(ids), -1, np.int64),
        embedded=np.ones(len(ids), bool),
        vectors=vectors,
        categories=[categories(item, inputs) for item in items],
        variant_keys=dict(enumerate(ids)),
    )
    changes = rewritten(before, new)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("variables"))
    write_variables(target, source, changes)
    names = sorted(inputs)
    write_digests(target, np.asarray([content_digest(item.features, names) for item in items], np.uint64))
    extra = target / contract.EXTRA_ASSETS
    write_json(extra / contract.SERVING_FILE, read_facts(source) | {"catalogue_size": len(ids)})
    (extra / contract.TITLES_FILE).write_text("".join(f"{row['item_id']}\t{row['title']}\n" for row in rows))


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints the wall and processor time of the block, its processes included."""
    began, before = time.monotonic(), processor_seconds()
    yield
    print(
        f"{what}: {time.monotonic() - began:.1f} s, processor {processor_seconds() - before:.1f} s",
        flush=True,
    )


def processor_seconds() -> float:
    """Of this process and of those that it has started and seen end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def invented(first: str, count: int, inputs: dict, seed: int) -> list[dict]:
    words = random.Random(seed)
    return [described(f"{first}{number}", inputs, words) for number in range(count)]


def written(file: Path, *parts: list[dict]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for rows in parts for row in rows))
    return file


def prepare(source: Path, model: Path, items: int, inputs: dict) -> None:
    """A folder of versions with one whose catalogue is filled up; one that is there already is taken."""
    if not (model / "1").exists():
        fill_up(source, model / "unfinished", invented("m", items, inputs, 0), inputs)
        (model / "unfinished").rename(model / "1")
    for number in versions(model)[1:]:
        shutil.rmtree(model / str(number))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("saved_models/movielens-100k"))
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--whole", action="store_true", help="Also refresh with the whole catalogue.")
    parser.add_argument("--keep", type=Path, help="Keep the large catalogue there and take it the next time.")
    parser.add_argument("--prepare", action="store_true", help="Only write it.")
    arguments = parser.parse_args()
    source = newest_version(arguments.model)
    if source is None:
        raise SystemExit(f"{arguments.model} holds no version. Run `twotower export` first.")
    console, inputs = Console(width=160), EmbedItem(source).inputs
    with tempfile.TemporaryDirectory() as scratch:
        model = (arguments.keep or Path(scratch)) / "model"
        prepare(source, model, arguments.items, inputs)
        if arguments.prepare:
            return
        new = invented("n", arguments.new, inputs, 1)
        file = written(Path(scratch) / "items.jsonl", new)
        print(f"load {', '.join(f'{value:.1f}' for value in os.getloadavg())}", flush=True)
        with timed(f"{arguments.new:,} changes"):
            refresh(model, file, RefreshOptions(only_changes=True), console)
        if arguments.whole:
            more = invented("w", arguments.new, inputs, 2)
            written(file, invented("m", arguments.items, inputs, 0), new, more)
            with timed(f"the whole catalogue with {arguments.new:,} new items"):
                refresh(model, file, RefreshOptions(), console)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process {peak:.1f} GB")


if __name__ == "__main__":
    main()
