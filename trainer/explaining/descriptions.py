"""The items as they were described, inside an exported model: what their vectors can be taken apart with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.indexes.table import variable
from trainer.keras_compat import tf

_EXAMPLES = "descriptions/examples"
"""Path of the variable below those of an index."""


class Descriptions(tf.Module):  # type: ignore[misc]
    """Raw features of all items, as serialized tf.train.Examples with a feature for each input of `embed_item`.

    Args:
        examples: [N] one an item, in the order of the catalogue.
    """

    def __init__(self, examples: Sequence[bytes]) -> None:
        super().__init__(name="descriptions")
        self.examples = variable(as_strings(examples), "item_examples")

    def of(self, rows: Any) -> Any:
        """String examples of int32 catalogue rows, any shape; "" for -1."""
        there = tf.where(rows >= 0)
        known = tf.gather(tf.convert_to_tensor(self.examples), tf.gather_nd(rows, there))
        return tf.tensor_scatter_nd_update(tf.fill(tf.shape(rows), ""), there, known)


def example_of(features: Mapping[str, Any], inputs: Mapping[str, Any]) -> bytes:
    """A serialized tf.train.Example of an item.

    Args:
        features: By input of `embed_item`; None or left out = missing.
        inputs: tf.TensorSpec of each input by name.
    """
    given = {name: features[name] for name in inputs if features.get(name) is not None}
    feature = {name: _feature(value, inputs[name].dtype) for name, value in given.items()}
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def _feature(value: Any, dtype: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if dtype == tf.string:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode() for text in values]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def rewritten(
    variables: Mapping[str, npt.NDArray[Any]], kept: npt.NDArray[np.int64], examples: Iterable[bytes]
) -> dict[str, npt.NDArray[Any]]:
    """The variables for another catalogue, by path; none for an index that has no descriptions.

    Args:
        variables: Of the old index.
        kept: int64 [M] the old row whose description each new one keeps, -1 for one that is described anew.
        examples: Of the items described anew, in their order.
    """
    if _EXAMPLES not in variables:
        return {}
    old = variables[_EXAMPLES]
    new = old[np.maximum(kept, 0)] if len(old) else as_strings([b""] * len(kept))
    new[kept < 0] = as_strings(list(examples))
    return {_EXAMPLES: new}


def as_strings(values: Sequence[bytes]) -> npt.NDArray[Any]:
    """Object array [N] of bytes."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
