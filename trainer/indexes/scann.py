"""Approximate search by ScaNN's own TensorFlow ops, for servers that have them; a stock TensorFlow Serving does not.

ScaNN (Guo et al. 2020, "Accelerating Large-Scale Inference with Anisotropic Vector Quantization") partitions the items
and scores product codes of 4 bits for two dimensions. Its best candidates are scored again with the vectors of the
exact table, so only codes are kept here: a quarter of a byte a dimension.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from trainer.contract import EXTRA_ASSETS, SERVING_FILE
from trainer.errors import ExportError
from trainer.indexes.storage import Vectors
from trainer.keras_compat import tf
from trainer.top_k import known_width

NAMESPACE = "Scann>"
"""What the names of its ops begin with."""
OPS_MODULE = "scann.scann_ops.py.scann_ops"
"""Registers the ops in a process that imports it."""
_PARTS = (  # the inputs of TensorsToScann, in their order
    "dataset",
    "scann_config",
    "serialized_partitioner",
    "datapoint_to_token",
    "ah_codebook",
    "hashed_dataset",
    "int8_dataset",
    "int8_multipliers",
    "dp_norms",
)
_DIMENSIONS_A_CODE = 2
_ANISOTROPY = 0.2  # the threshold of the paper's experiments, section 5
_SAMPLE = 100_000


def scann_ops() -> Any:
    """The ops.

    Raises:
        ExportError: the library is not there, or was compiled for another TensorFlow.
    """
    try:
        from scann.scann_ops.py import scann_ops as ops
    except (ImportError, tf.errors.OpError) as error:
        raise ExportError(
            f"export.index.kind = 'scann' needs ScaNN's ops, and TensorFlow {tf.__version__} cannot load them here "
            f"({str(error).splitlines()[0]}). `pip install 'twotower[scann]'` brings the release that is compiled for "
            "TensorFlow 2.20; or set kind = 'inverted_file', which needs no ops but TensorFlow's own."
        ) from None
    return ops


def op_modules(version_dir: Path) -> list[str]:
    """The modules that a process must import before it can load a version; none for a version without ScaNN."""
    try:
        facts = json.loads((version_dir / EXTRA_ASSETS / SERVING_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [OPS_MODULE] if facts.get("index", {}).get("kind") == "scann" else []


def build(vectors: Vectors, leaves: int) -> dict[str, Any]:
    """What ScaNN keeps of the vectors, as tensors by the names of the inputs of TensorsToScann.

    Args:
        vectors: float32 [N, D]; the op holds them in memory.
        leaves: Partitions, at most N.

    Raises:
        ExportError: the ops cannot be loaded.
    """
    builder = scann_ops().builder(tf.constant(vectors), 1, "dot_product")
    partitioned = builder.tree(leaves, leaves, training_sample_size=min(len(vectors), _SAMPLE))
    coded = partitioned.score_ah(_DIMENSIONS_A_CODE, anisotropic_quantization_threshold=_ANISOTROPY)
    state = coded.build().serialize_to_module()
    return {name: tf.convert_to_tensor(getattr(state, name)) for name in _PARTS}


def default_leaves(items: int) -> int:
    """The square root of the number of items, as ScaNN's documentation advises."""
    return max(1, round(math.sqrt(items)))


class Scann(tf.Module):  # type: ignore[misc]
    """A built ScaNN index as variables of an exported model.

    Args:
        parts: See `build`.
        leaves: Partitions that are read for a query.
    """

    rounds = True
    """Its scores are those of codes."""
    oversampling = 10
    """With 4, codes of a million items miss more than a twentieth of the list, whatever is read."""

    def __init__(self, parts: dict[str, Any], leaves: int) -> None:
        super().__init__(name="scann")
        self.parts = {
            name: tf.Variable(
                part, trainable=False, shape=tf.TensorShape([None] * part.shape.rank), name=name
            )
            for name, part in parts.items()
        }
        self.probes = leaves
        # In a process that holds several versions, each finds its own index by this name.
        self._shared_name = _digest(parts)

    def candidates(self, queries: Any, count: Any) -> tuple[Any, Any]:
        """The best items of the leaves that are read, by their codes.

        Args:
            queries: float32 [B, D].
            count: How many.

        Returns:
            float32 [B, count] scores, best first, and int32 [B, count] rows; -inf and -1 where the leaves hold no more
            items.
        """
        ops = scann_ops()
        parts = [tf.convert_to_tensor(self.parts[name]) for name in _PARTS]
        searcher = ops.tensors_to_scann(*parts, shared_name=self._shared_name)
        found = ops.scann_search_batched(searcher, queries, count, count, self.probes, False)
        rows, scores = tf.cast(found[0], tf.int32), found[1]
        missing = [[0, 0], [0, count - tf.shape(scores)[1]]]
        rows = tf.pad(tf.where(tf.math.is_finite(scores), rows, -1), missing, constant_values=-1)
        scores = tf.where(tf.math.is_finite(scores), scores, np.float32(-np.inf))
        scores = tf.pad(scores, missing, constant_values=np.float32(-np.inf))
        shape = [None, known_width(count)]
        return tf.ensure_shape(scores, shape), tf.ensure_shape(rows, shape)


def _digest(parts: dict[str, Any]) -> str:
    """Of the codes: equal for equal indexes, and for no others."""
    found = hashlib.sha256()
    for name in _PARTS:
        found.update(parts[name].numpy() if parts[name].dtype == tf.string else parts[name].numpy().tobytes())
    return f"scann-{found.hexdigest()[:32]}"
