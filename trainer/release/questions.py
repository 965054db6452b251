"""Requests made of a dataset's held-out events, for any model that serves the contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.catalogue import Catalogue, load_catalogue
from trainer.dataset import DatasetDirectory
from trainer.errors import ReleaseError
from trainer.evaluation.queries import EvaluationQueries
from trainer.keras_compat import tf
from trainer.lint.saved_model import read_saved_model
from trainer.sequences import Sequences, load_sequences, queries_of

Inputs = dict[str, tuple[Any, tuple[int, ...]]]
"""By input name: TensorFlow's dtype, and the shape behind the batch (-1 = any length)."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out events of a dataset.

    Attributes:
        catalogue: Its items.
        sequences: Its test users.
        queries: The events to predict.
    """

    catalogue: Catalogue
    sequences: Sequences
    queries: EvaluationQueries

    @classmethod
    def open(cls, dataset: Path, most: int) -> HeldOut:
        """Reads the test split.

        Args:
            dataset: A dataset directory.
            most: Events to draw at most.

        Raises:
            DatasetError: the directory cannot be used.
            ReleaseError: it has no held-out event.
        """
        directory = DatasetDirectory.open(dataset)
        catalogue = load_catalogue(directory)
        sequences = load_sequences(directory, "test", catalogue)
        queries = queries_of(sequences).sample(most)
        if not len(queries):
            raise ReleaseError(f"{dataset}: the test split has no event whose item is in the catalogue.")
        return cls(catalogue, sequences, queries)

    @cached_property
    def _ids(self) -> npt.NDArray[Any]:
        """Object [N + 1] of bytes; the last is b"", which row -1 reads."""
        return np.asarray([item.encode("utf-8") for item in [*self.catalogue.item_ids, ""]], dtype=object)

    def targets(self) -> npt.NDArray[Any]:
        """Object [Q] of bytes: the item of each event."""
        return np.asarray(self._ids[self.queries.target_items()], dtype=object)

    def sample(self, most: int) -> HeldOut:
        """At most so many of the events, always the same ones."""
        return HeldOut(self.catalogue, self.sequences, self.queries.sample(most))

    def histories(self, most: int) -> list[list[bytes]]:
        """[Q] ids of the most recent events before each, oldest first."""
        rows = self.queries.histories(0, len(self.queries), most)
        return [self._ids[row[row >= 0]].tolist() for row in rows]

    def batches(self, inputs: Inputs, size: int, most_events: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Requests of `size` events each, in their order.

        Args:
            inputs: What the model's signature takes; what the dataset does not know is left empty.
            size: Events a request.
            most_events: Longer histories are cut to their most recent part.
        """
        for start in range(0, len(self.queries), size):
            yield self._request(inputs, np.arange(start, min(start + size, len(self.queries))), most_events)

    def _request(self, inputs: Inputs, rows: npt.NDArray[np.int64], most: int) -> dict[str, npt.NDArray[Any]]:
        stops = self.queries.target[rows]
        starts = np.maximum(self.queries.row_splits[self.queries.sequence[rows]], stops - most)
        width = max(1, int((stops - starts).max()))
        places = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
        columns: dict[str, Any] = {
            contract.HISTORY_ITEM_ID: lambda at: self._ids[self.sequences.items[at]],
            contract.HISTORY_TIMESTAMP: lambda at: self.sequences.timestamps[at],
            contract.HISTORY_EVENT: lambda at: [e.encode("utf-8") for e in self.sequences.events[at]],
        }
        request = {}
        for name, (dtype, shape) in inputs.items():
            if name in columns:
                array = empty_input(dtype, (len(rows), width))
                for row, at in enumerate(places):
                    array[row, : len(at)] = columns[name](at)
            elif name in self.sequences.user_columns:
                column = self.sequences.user_columns[name][self.queries.sequence[rows]]
                array = _as_input(column, dtype)
            else:
                array = empty_input(dtype, (len(rows), *(max(1, size) for size in shape)))
            request[name] = array
        return request


def signature_inputs_of(version_dir: Path, signature: str) -> Inputs:
    """What a signature takes, read from the file without loading the model.

    Raises:
        ReleaseError: the model has no such signature.
    """
    signatures = read_saved_model(version_dir).signatures
    if signature not in signatures:
        raise ReleaseError(
            f"{version_dir} has no signature {signature!r}; it has {', '.join(sorted(signatures))}."
        )
    return {
        name: (tf.as_dtype(tensor.dtype), tuple(dim.size for dim in tensor.tensor_shape.dim[1:]))
        for name, tensor in signatures[signature].inputs.items()
    }


def empty_input(dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An input that says nothing: "", 0, NaN for a number and zeros for a vector of fixed size."""
    if dtype == tf.string:
        return np.full(shape, b"", dtype=object)
    missing = np.nan if dtype.is_floating and len(shape) == 1 else 0
    return np.full(shape, missing, dtype.as_numpy_dtype)


def _as_input(column: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    if dtype != tf.string:
        return column.astype(dtype.as_numpy_dtype)
    return np.asarray([value.encode("utf-8") for value in column], dtype=object)
