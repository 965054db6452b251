"""Items as the columns that `embed_item` takes, and the vectors that it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.keras_compat import tf
from trainer.refresh.embed_item import EmbedItem, EmbedKnown
from trainer.refresh.items_file import Item, is_list

_BATCH = 256

Vectors = npt.NDArray[np.float32]


def embed(tower: EmbedItem | EmbedKnown, items: Sequence[Item], progress: Callable[[int], None]) -> Vectors:
    """Vectors of items by an exported model's own item tower.

    Args:
        tower: Of the version.
        items: What to embed.
        progress: Called after each batch with the number of its items.

    Returns:
        float32 [N, D], in the order of the items.
    """
    parts = [np.zeros((0, tower.width), np.float32)]
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        columns = {name: column(batch, name, spec) for name, spec in tower.inputs.items()}
        parts.append(tower(columns, [item.item_id for item in batch]))
        progress(len(batch))
    return np.concatenate(parts)


def column(items: Sequence[Item], name: str, spec: Any) -> npt.NDArray[Any]:
    """One input of `embed_item`; what is missing is "" or NaN, of a vector zeros."""
    values = [item.features.get(name) for item in items]
    if is_list(spec):
        width = max([1, *(len(value or []) for value in values)])
        return np.asarray(
            [[*(value or []), *[""] * (width - len(value or []))] for value in values], dtype=object
        )
    if spec.dtype == tf.string:
        return np.asarray([value or "" for value in values], dtype=object)
    if spec.shape.rank == 2:
        return np.asarray([value or [0.0] * spec.shape[1] for value in values], np.float32)
    return np.asarray([np.nan if value is None else value for value in values], np.float32)


def categories(item: Item, inputs: dict[str, Any]) -> tuple[str, ...]:
    """The values of all list features of an item, each once, without ""."""
    lists = (item.features.get(name) or [] for name, spec in inputs.items() if is_list(spec))
    return tuple(dict.fromkeys(value for values in lists for value in values if value))
