"""What `explain` costs beside `recommend`: time of a request, memory, nodes of the graph.

    python benchmarks/explanations_cost.py saved_models/movielens-100k/1

Loads an exported version in this process and asks it as a server would, without the network. Histories are items of the
catalogue, all different in each request; the query is an item's title. A time is the median of `--rounds` requests, the
smallest and the largest behind it; two requests before them are not counted.
"""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from trainer.contract import EXTRA_ASSETS, TITLES_FILE
from trainer.keras_compat import tf
from trainer.rules.list_rules import NEUTRAL

_ASKED = (("recommend", 0), ("retrieve", 0), ("explain", 1), ("explain", 10), ("explain", 50))


def request(function: Any, history: list[str], query: str, items: list[str]) -> dict[str, Any]:
    """Inputs of one row; what is not said is missing."""
    said = {"history_item_id": history, "query": query, "item_id": items}
    found = {}
    for name, spec in function.structured_input_signature[1].items():
        if name in said:
            found[name] = tf.constant([said[name]], spec.dtype)
        elif name in NEUTRAL:
            found[name] = tf.constant(NEUTRAL[name][1], NEUTRAL[name][0])
        else:
            missing: Any = "" if spec.dtype == tf.string else 0 if spec.dtype == tf.int64 else float("nan")
            found[name] = tf.constant([missing], spec.dtype)
    return found


def milliseconds(function: Any, requests: list[dict[str, Any]]) -> list[float]:
    """Of each request but the first two."""
    found = []
    for one in requests:
        began = time.perf_counter()
        answer = function(**one)
        next(iter(answer.values())).numpy()
        found.append((time.perf_counter() - began) * 1e3)
    return found[2:]


def nodes(graph: Any) -> int:
    """Of a graph and of all functions that it calls, each once."""
    found = graph.as_graph_def()
    return len(found.node) + sum(len(function.node_def) for function in found.library.function)


@click.command()
@click.argument("version", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=9, show_default=True, help="Requests that are timed.")
@click.option("--histories", default="5,20,100", show_default=True, help="Events of the histories.")
def main(version: Path, rounds: int, histories: str) -> None:
    """Measure what explanations cost."""
    console = Console(width=120)
    lines = (version / EXTRA_ASSETS / TITLES_FILE).read_text("utf-8").splitlines()
    ids, titles = zip(*(line.split("\t")[:2] for line in lines), strict=True)
    loaded = tf.saved_model.load(str(version))
    signatures = {name: loaded.signatures[name] for name, _ in _ASKED}
    console.print({name: f"{nodes(function.graph):,} nodes" for name, function in signatures.items()})
    lengths = [int(length) for length in histories.split(",")]
    table = Table("", *(f"{n} events{also}" for n in lengths for also in ("", ", query")))
    for name, count in _ASKED:
        cells = []
        for length in lengths:
            for asks in (False, True):
                requests = [
                    request(
                        signatures[name],
                        [ids[(7 * turn + 13 * place) % len(ids)] for place in range(length)],
                        titles[turn] if asks else "",
                        [ids[(5 * turn + 11 * place + 3) % len(ids)] for place in range(count)],
                    )
                    for turn in range(rounds + 2)
                ]
                found = milliseconds(signatures[name], requests)
                cells.append(f"{statistics.median(found):,.0f} [{min(found):,.0f}, {max(found):,.0f}]")
        table.add_row(f"{name}, {count} items" if count else name, *cells)
    console.print(table)
    console.print(f"ms; most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
