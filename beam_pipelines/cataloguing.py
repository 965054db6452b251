"""Beam steps for the item table: join with the counts, write shards, list what the vocabulary needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_pipelines.contract import KEYWORDS_FILE, TITLES_FILE, items_shard, vocabulary_file
from beam_pipelines.files_out import write_bytes, write_shard
from beam_pipelines.items import item_tally, join_items
from beam_pipelines.layout import KEYWORDS, item_table, written_items
from beam_pipelines.partition import concat, from_bytes, to_bytes
from beam_pipelines.plan import Plan
from beam_pipelines.reading import REJECTS, TALLY
from beam_pipelines.shards import encode_items, shown_titles
from beam_pipelines.vocabulary import vocabulary_lines


class JoinItems(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """(partition, grouped Arrow bytes of rows and of counts) to (partition, Arrow bytes of the items)."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, element: tuple[int, dict[str, Iterable[bytes]]]) -> Iterator[Any]:
        """Joins one partition."""
        partition, grouped = element
        settings = self._plan.settings
        rows, counts = concat(grouped.get("rows", ())), concat(grouped.get("counts", ()))
        items, conflicts = join_items(rows, counts, item_table(settings), settings.items)
        for conflict in conflicts:
            reject = (conflict.block, conflict.line, conflict.reason, conflict.record)
            yield beam.pvalue.TaggedOutput(REJECTS, (("items", conflict.label), [reject]))
        yield beam.pvalue.TaggedOutput(TALLY, item_tally(items, settings.items).to_state())
        yield partition, to_bytes(items)


class WriteItems(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """Items of a partition to its shard file; yields a description of the file."""

    def __init__(self, plan: Plan, root: str) -> None:
        self._plan = plan
        self._root = root

    def process(self, element: tuple[int, bytes], defaults: dict[str, float]) -> Iterator[dict[str, Any]]:
        """Writes one partition."""
        items = from_bytes(element[1])
        records = encode_items(items, written_items(self._plan.settings), defaults)
        path = items_shard(element[0], self._plan.item_shards, self._plan.settings.compression)
        checksum = write_shard(self._root, path, records)
        yield {"split": "items", "path": path, "sha256": checksum}


def listed_columns(plan: Plan) -> tuple[str, ...]:
    """Columns that the list of keywords needs: categories, then keywords; none without such a list."""
    settings = plan.settings
    if settings.items is None or settings.keywords is None:
        return ()
    return (*settings.items.categories, KEYWORDS)


def listing(items: bytes, names: tuple[str, ...]) -> bytes:
    """The columns of the items that the vocabulary and the lists of titles and keywords need.

    Args:
        items: Arrow bytes of a partition.
        names: see `listed_columns`.
    """
    table = from_bytes(items)
    columns = {"item_id": table["item_id"], "title": shown_titles(table), "train": table["train"]}
    return to_bytes(pa.table(columns | {name: table[name] for name in names}))


class WriteListings(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """All items' ids, titles and training events to `vocab/item_id.txt`, `titles.tsv`, and if any `keywords.tsv`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def process(self, element: tuple[Any, Iterable[bytes]]) -> Iterator[dict[str, Any]]:
        """Writes both files."""
        table = concat(element[1])
        if table is None:
            return
        table = table.sort_by("item_id")
        names, counts = table["item_id"].to_pylist(), table["train"].to_pylist()
        known = {name: count for name, count in zip(names, counts, strict=True) if count}
        path = vocabulary_file("item_id")
        yield {"path": path, "sha256": write_bytes(self._root, path, vocabulary_lines(known))}
        lines = [f"{n}\t{_one_line(t)}\n" for n, t in zip(names, table["title"].to_pylist(), strict=True)]
        yield {"path": TITLES_FILE, "sha256": write_bytes(self._root, TITLES_FILE, "".join(lines).encode())}
        if KEYWORDS in table.column_names:
            data = "".join(_keyword_lines(table)).encode()
            yield {"path": KEYWORDS_FILE, "sha256": write_bytes(self._root, KEYWORDS_FILE, data)}


def _keyword_lines(table: pa.Table) -> Iterator[str]:
    """`item_id<TAB>categories<TAB>keywords`, each with commas between, for every item that has any."""
    categories = [table[name].to_pylist() for name in table.column_names[3:] if name != KEYWORDS]
    names = zip(table["item_id"].to_pylist(), table[KEYWORDS].to_pylist(), strict=True)
    for row, (item, keywords) in enumerate(names):
        values = [value for column in categories for value in column[row] or ()]
        if values or keywords:
            yield f"{item}\t{_with_commas(values)}\t{_with_commas(keywords)}\n"


def _with_commas(values: Iterable[str]) -> str:
    return ",".join(_one_line(value.replace(",", " ")) for value in values)


def _one_line(text: str) -> str:
    return " ".join(text.split())
