"""The rank of every target, kept beside a report, so that another model can be compared with it later."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.queries import EvaluationQueries

_PREFIX = "ranks:"


@dataclass(frozen=True)
class KeptRanks:
    """What every model of a report made of every query.

    Attributes:
        digest: Of the queries; two models can be compared where it is the same.
        groups: int32 [Q], the user of each query.
        ranks: int64 [Q] by the name of the model.
    """

    digest: str
    groups: npt.NDArray[np.int32]
    ranks: Mapping[str, npt.NDArray[np.int64]]

    def write(self, path: Path) -> None:
        """Writes beside `path`, which gets missing folders, and renames."""
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {f"{_PREFIX}{name}": ranks.astype(np.int32) for name, ranks in self.ranks.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, digest=np.array(self.digest), groups=self.groups, **_arrays(columns))
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(buffer.getvalue())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> KeptRanks:
        """Reads what `write` wrote.

        Raises:
            ValueError: the file is missing, damaged or no file of ranks.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                ranks = {
                    name.removeprefix(_PREFIX): arrays[name].astype(np.int64)
                    for name in arrays.files
                    if name.startswith(_PREFIX)
                }
                return cls(str(arrays["digest"]), arrays["groups"], ranks)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no readable file of ranks ({error}). `twotower evaluate --overwrite` writes one."
            ) from error


def digest_of_queries(queries: EvaluationQueries, item_ids: Sequence[str], user_ids: npt.NDArray[Any]) -> str:
    """SHA-256 (hex) of who is asked for what, after how many events; independent of the catalogue's order.

    Args:
        queries: Q queries.
        item_ids: The id of each item of the catalogue.
        user_ids: The id of each sequence of the queries.
    """
    digest = hashlib.sha256()
    lengths = queries.history_lengths()
    targets = queries.target_items()
    for start in range(0, len(queries), 4096):
        rows = range(start, min(start + 4096, len(queries)))
        lines = (f"{user_ids[queries.sequence[q]]}\t{item_ids[targets[q]]}\t{lengths[q]}\n" for q in rows)
        digest.update("".join(lines).encode())
    return digest.hexdigest()


def _arrays(columns: dict[str, npt.NDArray[np.int32]]) -> dict[str, Any]:
    """Keyword arguments of NumPy's function, whose types know no others than its own."""
    return dict(columns)
