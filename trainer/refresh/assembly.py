"""The catalogue of a new version: which item stands in which row, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.explaining.descriptions import example_of
from trainer.refresh.columns import categories
from trainer.refresh.digests import Digests
from trainer.refresh.index_values import Rows
from trainer.refresh.plan import Plan


def new_rows(
    ids: Sequence[str],
    plan: Plan,
    vectors: npt.NDArray[np.float32],
    inputs: dict[str, Any],
    variant_feature: str | None,
) -> Rows:
    """Items that stay in their order, new ones after them; vectors in the order of these rows.

    Args:
        ids: Of the old index.
        plan: What changes.
        vectors: float32 [N, D] of `plan.embedded`.
        inputs: tf.TensorSpec of the inputs of `embed_item` by name.
        variant_feature: The input that says whose variant an item is; None = its title.
    """
    gone, changed = set(plan.removed), {item.item_id: place for place, item in enumerate(plan.changed)}
    origin = [row for row, item in enumerate(ids) if item not in gone]
    kept = [ids[row] for row in origin]
    places = [changed[item] for item in kept if item in changed]
    places += range(len(plan.changed), len(plan.embedded))
    items = plan.embedded
    new_ids = [*kept, *(item.item_id for item in plan.added)]
    return Rows(
        ids=new_ids,
        origin=np.asarray([*origin, *[-1] * len(plan.added)], np.int64),
        embedded=np.asarray([*(item in changed for item in kept), *[True] * len(plan.added)], bool),
        vectors=vectors[places],
        categories=[categories(items[place], inputs) for place in places],
        variant_keys=_variant_keys(new_ids, plan, variant_feature),
        examples=(example_of(items[place].features, inputs) for place in places),
    )


def _variant_keys(ids: Sequence[str], plan: Plan, feature: str | None) -> dict[int, Any]:
    """By row what says whose variant an item is, where it may have changed."""
    added = {item.item_id for item in plan.added}
    if feature is None:
        return {
            row: plan.titles.get(item) or item
            for row, item in enumerate(ids)
            if item in plan.titles or item in added
        }
    embedded = {item.item_id: item.features.get(feature) or "" for item in plan.embedded}
    return {row: embedded[item] for row, item in enumerate(ids) if item in embedded}


def new_digests(before: Digests, rows: Rows, plan: Plan) -> Digests:
    """What the vectors of the new rows were made of; of items that the file does not mention as before."""
    kept = before[np.maximum(rows.origin, 0)]
    given = {row: plan.digests[item] for row, item in enumerate(rows.ids) if item in plan.digests}
    kept[list(given)] = np.asarray(list(given.values()), np.uint64)
    return kept


def new_facts(
    facts: dict[str, Any], old: Path, plan: Plan, rows: Rows, digest: str, number: int
) -> dict[str, Any]:
    """serving.json of the new version: all of the old one, and what has changed."""
    return facts | {
        "model_version": number,
        "catalogue_size": len(rows.ids),
        "catalogue_digest": digest,
        "refreshed": {
            "from_version": int(old.name),
            "added": len(plan.added),
            "changed": len(plan.changed),
            "removed": len(plan.removed),
            "rejected": len(plan.rejects),
        },
    }
