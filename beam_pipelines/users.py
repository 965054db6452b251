"""Looks up the features of the users of a partition."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.duplicates import Conflict, merge_rows


def user_features(
    names: pa.Array, owners: pa.Array, rows: pa.Table | None, schema: pa.Schema, most_common: bool = False
) -> tuple[pa.Table, list[Conflict]]:
    """The features of given users.

    Args:
        names: [U] names of the sequences.
        owners: [U] the user of each, perhaps repeated (sessions).
        rows: the partition's rows of the user table, None where there are none.
        schema: of the features: string or float32 each.
        most_common: of contradicting rows the most frequent wins.

    Returns:
        [U] the names as `_user` and a column a feature, "" or null where it is not known; and the rows
        refused as contradicting.
    """
    if rows is None:
        return pa.table({"_user": names} | {f.name: _unknown(f.type, len(owners)) for f in schema}), []
    merged, conflicts = merge_rows(rows, "user_id", "duplicate_user_id", most_common)
    position = pc.index_in(owners, value_set=merged["user_id"].combine_chunks())
    columns = {"_user": names}
    for feature in schema:
        found = merged[feature.name].combine_chunks().take(position)
        columns[feature.name] = pc.fill_null(found, "") if pa.types.is_string(feature.type) else found
    return pa.table(columns), conflicts


def _unknown(kind: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar("", kind), rows) if pa.types.is_string(kind) else pa.nulls(rows, kind)
