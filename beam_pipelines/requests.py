"""A user's record as the request that a client would send for it."""

from __future__ import annotations

from typing import Any

from beam_pipelines.contract import Schema
from beam_pipelines.errors import DatasetError
from beam_pipelines.reader import Dataset, Record

_USER_ROLES = ("user_category", "user_numeric")


def find_record(dataset: Dataset, user_id: str | None, split: str) -> Record:
    """A user's record of a split; without an id that of some user with context events.

    Raises:
        DatasetError: the user is not in the split, or the split is empty.
    """
    if user_id is not None:
        record = dataset.find_user(user_id, split)
        if record is None:
            raise DatasetError(
                f"{dataset.root}: the user {user_id!r} is not in the split {split}: users are there only "
                "with at least one target. Try --split train."
            )
        return record
    record = next((r for r in dataset.sequences(split) if r["target_start"] > 0), dataset.first_user(split))
    if record is None:
        raise DatasetError(f"{dataset.root}: the split {split} has no users.")
    return record


def as_request(record: Record, schema: Schema) -> dict[str, Any]:
    """The request for a record: its context events as history, and the user's features.

    Args:
        record: of a split; events from `target_start` on are what is to be recommended and stay out.
        schema: of the dataset.
    """
    context = record["target_start"]
    optional = [name for name in ("timestamp", "event") if name in record]
    history = [
        {"item_id": record["item_id"][i]} | {name: record[name][i] for name in optional}
        for i in range(context)
    ]
    user = {f.name: record[f.name] for f in schema.sequences if f.role in _USER_ROLES}
    return {"history": history, "query": "", "user": user, "exclude": [], "allow_category": []}
