"""The best 100 of many items: our searches beside those of others, at equal recall.

    python benchmarks/retrieval.py                                      # 10,000 made-up vectors, what is installed
    python benchmarks/retrieval.py --encode DIR --movielens DIR --encoder DIR --texts 200000
    python benchmarks/retrieval.py --texts-in DIR --movielens DIR --items 1000000 --dims 64 --batches 1 --json FILE

The second form encodes film titles once (see _retrieval_texts.py) and can be interrupted; the third measures on them.
The others' libraries are in benchmarks/requirements-retrieval.txt.

Each search is built, then turned up until it finds the wanted share of the true list for one half of the queries; its
recall on the other half is printed. Then all take turns, `--rounds` times, each with the same queries for about
`--seconds`; the figures are medians of the rounds, in brackets the smallest and largest. "x" is the time of TFRS
BruteForce divided by the search's in the same round: larger is faster. The floor is the time to read the vectors once
from memory, by all cores.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import click
import numpy as np
import numpy.typing as npt
from _retrieval_system import Search, System
from _retrieval_systems import BUILDERS, systems
from _retrieval_texts import clustered_data, encode, text_data

K = 100
QUERIES = 512
BASE = "TFRS BruteForce"
Vectors = npt.NDArray[np.float32]


class Contender:
    """A search with one setting, and what was measured of it."""

    def __init__(
        self, system: System, target: float | None, setting: Any, search: Search, found: float
    ) -> None:
        self.name, self.target, self.setting, self.found = system.name, target, setting, found
        self.search = search
        self.times: dict[int, list[float]] = {}

    @property
    def shown_setting(self) -> str:
        """Partitions, with their reach if it can be chosen, or the width of a walk through a graph."""
        parts = self.setting if isinstance(self.setting, list) else [self.setting]
        return "" if self.setting is None else ", ".join(f"{part:g}" for part in parts)


def recall_of(search: Search, queries: Vectors, truth: npt.NDArray[Any]) -> float:
    """The share of the true lists [M, k] that is found."""
    found = np.concatenate([search(queries[start : start + 32]) for start in range(0, len(queries), 32)])
    hits = sum(len(np.intersect1d(ours, theirs)) for ours, theirs in zip(found, truth, strict=True))
    return hits / truth.size


def contenders_of(
    system: System, queries: Vectors, truth: npt.NDArray[Any], targets: tuple[float, ...]
) -> list[Contender]:
    """For each recall the cheapest setting that reaches it, found by halving; none where no setting does."""
    if len(system.settings) == 1:
        search = system.search(None)
        found = recall_of(search, queries[1::2], truth[1::2])
        assert not system.exact or found > 0.9999, f"{system.name} finds {found}"
        return [Contender(system, None, None, search, found)]
    chosen = []
    for target in targets:
        if system.counted is not None:
            setting = system.counted(queries[::2], truth[::2], target)
        else:
            setting = _least_setting(system, system.settings, queries[::2], truth[::2], target)
            if setting is None and system.wider:
                setting = _least_setting(system, system.wider, queries[::2], truth[::2], target)
        if setting is None:
            print(f"{system.name}: no setting finds {target}", flush=True)
            continue
        search = system.search(setting)
        found = recall_of(search, queries[1::2], truth[1::2])
        if found >= target - 0.01:
            chosen.append(Contender(system, target, setting, search, found))
        else:
            print(f"{system.name}: no setting finds {target} ({found:.3f} with {setting})", flush=True)
    return chosen


def _least_setting(
    system: System, settings: Sequence[Any], queries: Vectors, truth: npt.NDArray[Any], target: float
) -> Any:
    def enough(place: int) -> bool:
        return recall_of(system.search(settings[place]), queries, truth) >= target

    low, high = 0, len(settings) - 1
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return settings[low]


def tuned(
    system: System, queries: Vectors, truth: npt.NDArray[Any], targets: tuple[float, ...], keep: Path | None
) -> list[Contender]:
    """`contenders_of`, whose settings are kept; delete tuned.json after a change of a search."""
    file = keep and keep / "tuned.json"
    known = json.loads(file.read_text("utf-8")) if file and file.exists() else {}
    kept = known.get(system.name)
    if kept and set(kept["targets"]) >= set(targets):
        return [
            Contender(system, target, setting, system.search(setting), found)
            for target, setting, found in kept["chosen"]
            if target is None or target in targets
        ]
    chosen = contenders_of(system, queries, truth, targets)
    if file:
        settings = [[each.target, each.setting, each.found] for each in chosen]
        known[system.name] = {"targets": targets, "chosen": settings}
        file.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return chosen


def true_lists(vectors: Vectors, queries: Vectors) -> npt.NDArray[Any]:
    """Int [M, k] rows of the best items."""
    parts = []
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ vectors.T
        parts.append(np.argpartition(-scores, K - 1, axis=1)[:, :K])
    return np.concatenate(parts)


def _truth(vectors: Vectors, queries: Vectors, keep: Path | None) -> npt.NDArray[Any]:
    file = keep and keep / "truth.npy"
    if file and file.exists():
        return np.asarray(np.load(file))
    truth = true_lists(vectors, queries)
    if file:
        np.save(file, truth)
    return truth


def data_of(
    texts: Path | None, movielens: Path | None, items: int, width: int, keep: Path | None
) -> tuple[Vectors, Vectors, str]:
    """Vectors, queries and what they are made of; read from `keep` if they lie there."""
    if keep is not None and (keep / "data.npz").exists():
        with np.load(keep / "data.npz") as kept:
            return kept["vectors"], kept["queries"], str(kept["made_of"])
    if texts is not None and movielens is not None:
        vectors, queries, real = text_data(texts, movielens, items, width, QUERIES)
        made_of = f"titles, {real:,} of them encoded"
    else:
        vectors, queries = clustered_data(items, width, QUERIES)
        made_of = "made-up clusters"
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        np.savez(keep / "data.npz", vectors=vectors, queries=queries, made_of=made_of)
    return vectors, queries, made_of


def measure(contenders: list[Contender], queries: Vectors, batch: int, rounds: int, seconds: float) -> None:
    """Lets all take turns; milliseconds a request are appended to each one's `times[batch]`."""
    batches = [queries[start : start + batch] for start in range(0, len(queries) - batch + 1, batch)]
    for contender in contenders:
        contender.search(batches[0])
        contender.times[batch] = []
    for _ in range(rounds):
        for contender in contenders:
            began, calls = time.perf_counter(), 0
            while time.perf_counter() - began < seconds or calls < 3:
                contender.search(batches[calls % len(batches)])
                calls += 1
            contender.times[batch].append(1e3 * (time.perf_counter() - began) / calls)


def floor_ms(vectors: Vectors, rounds: int) -> float:
    """Milliseconds to read all vectors once, by all cores."""
    parts = np.array_split(vectors.reshape(-1), os.cpu_count() or 1)
    taken = []
    with ThreadPoolExecutor(len(parts)) as threads:
        for _ in range(rounds):
            began = time.perf_counter()
            list(threads.map(np.max, parts))
            taken.append(1e3 * (time.perf_counter() - began))
    return min(taken)


def spread(values: list[float]) -> str:
    """Median, least and most, with three digits."""
    middle = statistics.median(values)
    digits = max(0, 2 - int(math.log10(max(middle, 1))))
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratios_of(contender: Contender, base: Contender | None, batch: int) -> list[float]:
    """How many times as fast as the base, round by round; none without a base."""
    if base is None:
        return []
    return [b / t for b, t in zip(base.times[batch], contender.times[batch], strict=True)]


def report(contenders: list[Contender], batches: tuple[int, ...], floor: float) -> list[dict[str, Any]]:
    """Prints one table and returns its rows."""
    base = next((c for c in contenders if c.name == BASE), None)
    heads = " | ".join(f"{batch} at once, ms | x" for batch in batches)
    print(f"\n| search | setting | recall | {heads} |\n|---|---|---|{'---|---|' * len(batches)}")
    rows = []
    for contender in contenders:
        ratios = {batch: ratios_of(contender, base, batch) for batch in batches}
        cells = [contender.name, contender.shown_setting, f"{contender.found:.3f}"]
        for batch in batches:
            cells += [spread(contender.times[batch]), spread(ratios[batch]) if base else ""]
        print(f"| {' | '.join(cells)} |")
        rows.append(
            {
                "search": contender.name,
                "target": contender.target,
                "setting": contender.setting,
                "recall": contender.found,
                "ms": contender.times,
                "ratios": ratios,
            }
        )
    print(f"\nReading the vectors once takes {floor:.2f} ms.", flush=True)
    return rows


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.option("--encode", "encode_to", type=Path, help="Encode film titles into this folder, and stop.")
@click.option("--texts", default=200_000, show_default=True, help="How many titles to encode.")
@click.option("--encoder", type=Path, help="The text encoder's folder, as `twotower fetch` leaves it.")
@click.option(
    "--movielens", type=Path, help="Folder of MovieLens ml-latest-small, ratings.csv packed with xz."
)
@click.option(
    "--texts-in", type=Path, help="Measure on the titles encoded there; without it on made-up clusters."
)
@click.option("--items", multiple=True, type=int, default=(10_000,), show_default=True)
@click.option("--dims", multiple=True, type=int, default=(64,), show_default=True)
@click.option("--batches", multiple=True, type=int, default=(1, 32), show_default=True)
@click.option("--recalls", multiple=True, type=float, default=(0.95, 0.99), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=0.2, show_default=True, help="For each search in each round.")
@click.option("--only", multiple=True, type=click.Choice(list(BUILDERS)))
@click.option(
    "--keep", type=Path, help="Keep vectors, graphs and partitions in this folder; they are not made again."
)
@click.option("--json", "json_file", type=Path, help="Write all figures there, too.")
def main(
    encode_to: Path | None,
    texts: int,
    encoder: Path | None,
    movielens: Path | None,
    texts_in: Path | None,
    items: tuple[int, ...],
    dims: tuple[int, ...],
    batches: tuple[int, ...],
    recalls: tuple[float, ...],
    rounds: int,
    seconds: float,
    only: tuple[str, ...],
    keep: Path | None,
    json_file: Path | None,
) -> None:
    if (encode_to or texts_in) and movielens is None:
        raise click.UsageError("--encode and --texts-in need --movielens.")
    if encode_to is not None and movielens is not None:
        if encoder is None:
            raise click.UsageError("--encode needs --encoder.")
        encode(movielens, encoder, encode_to, texts)
        return
    results = []
    for count in items:
        for width in dims:
            folder = keep and keep / f"{count}x{width}"
            vectors, queries, made_of = data_of(texts_in, movielens, count, width, folder)
            truth, floor = _truth(vectors, queries, folder), floor_ms(vectors, rounds)
            contenders = []
            for system in systems(vectors, K, only, folder):
                began = time.perf_counter()
                contenders += tuned(system, queries, truth, recalls, folder)
                print(f"{system.name}: tuned in {time.perf_counter() - began:.1f} s", flush=True)
            for batch in batches:
                measure(contenders, queries, batch, rounds, seconds)
            load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
            print(
                f"\nTop {K} of {count:,} x {width}: {made_of}; {rounds} rounds, {os.cpu_count()} cores, load {load}"
            )
            rows = report(contenders, batches, floor)
            results.append({"items": count, "dims": width, "floor_ms": floor, "rows": rows})
            if json_file is not None:
                json_file.parent.mkdir(parents=True, exist_ok=True)
                json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nPeak memory {peak:.2f} GiB.")


if __name__ == "__main__":
    main()
