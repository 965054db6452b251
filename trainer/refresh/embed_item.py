"""The item tower of a version: its signature `embed_item`, loaded as a server does, or by ID, loaded as code does.

`tf.saved_model.load` makes Python objects of every function of a version, of which there are hundreds. For one
signature a session is ready many times as fast.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.errors import ExportError
from trainer.keras_compat import tf

Columns = dict[str, npt.NDArray[Any]]


class EmbedItem:
    """Vectors of items by an exported model's own item tower.

    Args:
        version_dir: A version that `twotower export` wrote.

    Attributes:
        inputs: tf.TensorSpec by name.
        width: D.

    Raises:
        ExportError: the version has no such signature, or cannot be loaded.
    """

    def __init__(self, version_dir: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with self._session.graph.as_default(), _quietly():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(version_dir))
        except (ValueError, OSError, tf.errors.OpError) as error:
            raise ExportError(f"{version_dir} cannot be loaded: {error}.") from error
        if "embed_item" not in meta_graph.signature_def:
            raise ExportError(
                f"{version_dir} cannot embed new items: the model reads no item features or text."
            )
        signature = meta_graph.signature_def["embed_item"]
        self._feeds = {name: info.name for name, info in signature.inputs.items()}
        self._fetch = signature.outputs[contract.EMBEDDING].name
        self.inputs = {
            name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name=name)
            for name, info in sorted(signature.inputs.items())
        }
        self.width = int(signature.outputs[contract.EMBEDDING].tensor_shape.dim[1].size)

    def __call__(self, columns: Columns, item_ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, D] of a column for each input, see `trainer.refresh.columns.column`; the ids do not matter."""
        del item_ids
        feeds = {self._feeds[name]: values for name, values in columns.items()}
        return np.asarray(self._session.run(self._fetch, feeds), np.float32)


class EmbedKnown:
    """The same, and items that were in training keep their ID embedding.

    Args:
        version_dir: A version that `twotower export` wrote.
        signature: Its signature.
    """

    def __init__(self, version_dir: Path, signature: EmbedItem) -> None:
        self.inputs, self.width = signature.inputs, signature.width
        self._loaded = tf.saved_model.load(str(version_dir))

    def __call__(self, columns: Columns, item_ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, D] of a column for each input and the ids of the items."""
        given = {name: tf.constant(column, self.inputs[name].dtype) for name, column in columns.items()}
        by_id = getattr(self._loaded, contract.EMBED_KNOWN, None)
        if by_id is None:
            answer = self._loaded.signatures["embed_item"](**given)
        else:
            answer = by_id(**given, **{contract.ITEM_ID: tf.constant(list(item_ids), tf.string)})
        return np.asarray(answer[contract.EMBEDDING].numpy())


@contextmanager
def _quietly() -> Iterator[None]:
    """TensorFlow calls this way of loading old, which is nothing that a user could change."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
