"""Joins the catalogue rows of one partition with the counts of their events."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.duplicates import Conflict, merge_rows
from beam_pipelines.settings import ItemSettings
from beam_pipelines.tally import Tally


def join_items(
    rows: pa.Table | None, counts: pa.Table | None, schema: pa.Schema, settings: ItemSettings | None
) -> tuple[pa.Table, list[Conflict]]:
    """All items of a partition: those of the catalogue and those that only events know.

    Args:
        rows: of the catalogue, or None.
        counts: item_id, train, events of any number of sequence partitions, or None.
        schema: of the catalogue's columns, item_id first.
        settings: how to treat duplicates.

    Returns:
        Sorted by item_id: the columns of the schema (null where an item has no row), then `train`, `events`
        and `_in_catalogue`; and the rows refused as contradicting.
    """
    conflicts: list[Conflict] = []
    catalogue = schema.empty_table()
    if rows is not None:
        common = settings is not None and settings.duplicates == "most_common"
        catalogue, conflicts = merge_rows(rows, "item_id", "duplicate_item_id", most_common=common)
    counted = pa.table(
        {
            "item_id": pa.array([], pa.string()),
            "train": pa.array([], pa.int64()),
            "events": pa.array([], pa.int64()),
        }
    )
    if counts is not None:
        summed = counts.group_by("item_id").aggregate([("train", "sum"), ("events", "sum")])
        counted = summed.rename_columns({"train_sum": "train", "events_sum": "events"})
    names = pa.concat_arrays([_whole(catalogue["item_id"]), _whole(counted["item_id"])]).unique()
    names = names.take(pc.sort_indices(names))
    at = pc.index_in(names, value_set=_whole(catalogue["item_id"]))
    columns: dict[str, pa.Array] = {"item_id": names}
    for name in schema.names[1:]:
        columns[name] = _whole(catalogue[name]).take(at)
    at = pc.index_in(names, value_set=_whole(counted["item_id"]))
    for name in ("train", "events"):
        columns[name] = pc.fill_null(_whole(counted[name]).take(at), 0)
    columns["_in_catalogue"] = pc.is_in(names, value_set=_whole(catalogue["item_id"]))
    return pa.table(columns), conflicts


def item_tally(items: pa.Table, settings: ItemSettings | None) -> Tally:
    """Counts over the items; vocabularies and numbers over those that occur in training."""
    tally = Tally()
    tally.add("items/count", len(items))
    tally.add("items/without_row", pc.sum(pc.invert(items["_in_catalogue"])).as_py() or 0)
    training = items.filter(pc.greater(items["train"], 0))
    tally.add("items/in_training", len(training))
    tally.add_integers("items/train_events", training["train"].to_numpy())
    if settings is None:
        return tally
    for name in ("title", "text"):
        if name in items.column_names:
            tally.add(f"missing/{name}", pc.sum(pc.equal(pc.fill_null(training[name], ""), "")).as_py() or 0)
    for name in settings.categories:
        lists = training[name].combine_chunks()
        counted = pc.value_counts(pc.list_flatten(lists))
        tally.add_values(name, counted.field("values").to_pylist(), counted.field("counts").to_pylist())
        empty = pc.equal(pc.fill_null(pc.list_value_length(lists), 0), 0)
        tally.add(f"missing/{name}", pc.sum(empty).as_py() or 0)
    for name in settings.numerics:
        tally.add(f"missing/{name}", training[name].null_count)
        tally.add_floats(f"numeric/{name}", np.asarray(training[name].drop_null()))
    for name in settings.vectors:
        tally.add(f"missing/{name}", training[name].null_count)
    return tally


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
