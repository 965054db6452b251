"""Vectors that a batch job computed: Parquet shards with the columns `item_id` and `embedding`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.contract import EMBEDDING, ITEM_ID
from trainer.errors import ExportError

Vectors = npt.NDArray[np.float32]

_TOLERANCE = (
    1e-4  # relative to a vector's length; float32 sums in another order, as in the check of an export
)


def read_vectors(
    folder: Path, wanted: Mapping[str, int], count: int, width: int
) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Reads the vectors of some items.

    Args:
        folder: With *.parquet files, as `twotower score embed-items` writes them.
        wanted: By id the row of the answer.
        count: N, rows of the answer.
        width: D.

    Returns:
        float32 [N, D], and bool [N] whether the shards hold an item for the row.

    Raises:
        ExportError: there are no such files, or their columns do not fit.
    """
    import pyarrow.parquet as pq

    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise ExportError(f"{folder} holds no Parquet files. Write them with `twotower score embed-items`.")
    vectors, found = np.zeros((count, width), np.float32), np.zeros(count, bool)
    for file in files:
        try:
            for batch in pq.ParquetFile(file).iter_batches(columns=[ITEM_ID, EMBEDDING]):
                rows = np.asarray([wanted.get(item, -1) for item in batch[ITEM_ID].to_pylist()], np.int64)
                parts = np.asarray(batch[EMBEDDING].flatten(), np.float32).reshape(len(rows), width)
                vectors[rows[rows >= 0]] = parts[rows >= 0]
                found[rows[rows >= 0]] = True
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise ExportError(
                f"{file} does not hold the columns {ITEM_ID} (string) and {EMBEDDING} ({width} numbers): {error}."
            ) from error
    return vectors, found


def check_same_tower(given: Vectors, own: Vectors, folder: Path) -> None:
    """Refuses vectors that another model made.

    Args:
        given: float32 [N, D] from the shards.
        own: float32 [N, D] of the same items by this model.
        folder: Where the shards are.

    Raises:
        ExportError: they differ.
    """
    allowed = _TOLERANCE * np.maximum(1.0, np.linalg.norm(own, axis=1))
    apart = np.linalg.norm(given - own, axis=1)
    if (apart > allowed).any():
        raise ExportError(
            f"The vectors in {folder} are not this model's: they differ by up to {float(apart.max()):.2g} from what "
            "its item tower makes of the same items. Compute them with the version that is refreshed."
        )
