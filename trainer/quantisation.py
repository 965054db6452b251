"""The exported text tower in fewer bytes: matrices stored as int8 or bfloat16, and what that costs.

int8 has a scale for each output of a matrix, and for each row of the table of word pieces: the greatest magnitude is
127 (symmetric quantisation, Jacob 2018, section 2.1, by channel as in Krishnamoorthi 2018, section 3.2). Processors
without arithmetic on these types would convert every matrix in every request; so a server makes float32 of the layers'
matrices once, when it initialises the model after it has read the variables, as it fills look-up tables. Requests then
cost what they cost with float32, and the file a quarter or half. Only the table of word pieces, of which a request
reads a few rows, stays small in memory too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainer.keras_compat import tf
from trainer.packed_bert import BertWeights, FrozenBert, LayerWeights, encode_packed

Precision = Literal["bfloat16", "int8"]
_STEPS = 127  # of int8 on each side of zero


class StoredMatrix(tf.Module):  # type: ignore[misc]
    """A float32 matrix in fewer bytes.

    Args:
        value: float32 [I, O].
        precision: What to store it as.
        axis: Over which one scale is shared: 0 = each column has its own, 1 = each row.
    """

    def __init__(self, value: npt.NDArray[np.float32], precision: Precision, axis: int) -> None:
        super().__init__(name="stored_matrix")
        self._scale = None
        if precision == "int8":
            scale = np.abs(value).max(axis=axis, keepdims=True) / _STEPS
            scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
            self._scale = tf.Variable(scale, trainable=False)
            self.values = tf.Variable(np.round(value / scale).astype(np.int8), trainable=False)
        else:
            self.values = tf.Variable(tf.cast(value, tf.bfloat16), trainable=False)

    def wide(self) -> Any:
        """float32 [I, O]."""
        wide = tf.cast(self.values, tf.float32)
        return wide if self._scale is None else wide * self._scale

    def rows(self, places: Any) -> Any:
        """float32 [T, O] rows of int32 [T]; scales must be those of rows."""
        wide = tf.cast(tf.gather(self.values, places), tf.float32)
        return wide if self._scale is None else wide * tf.gather(self._scale, places)

    def digest(self) -> str:
        """SHA-256 (hex) of what is stored."""
        return hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in self.variables)).hexdigest()


class WidenedMatrix(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
    """The float32 matrix of a stored one, made when the model is initialised, and no part of the checkpoint.

    Its name in a server's memory is its content's: versions that are loaded at once share what they have in common.

    Args:
        stored: The matrix.
    """

    def __init__(self, stored: StoredMatrix) -> None:
        super().__init__()
        self._stored = stored
        self._shape = tuple(stored.values.shape)
        self._shared_name = f"text_tower/{stored.digest()[:32]}"
        self._initialize()

    def _create_resource(self) -> Any:
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=self._shape, shared_name=self._shared_name)

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=self._stored.wide())

    def read(self) -> Any:
        """float32, the shape of the stored matrix."""
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.float32)
        return tf.ensure_shape(value, self._shape)


class StoredBert(tf.Module):  # type: ignore[misc]
    """A `FrozenBert` whose matrices are stored in fewer bytes.

    Args:
        bert: What is stored.
        precision: What as. Biases and normalizations stay float32.
    """

    def __init__(self, bert: FrozenBert, precision: Precision) -> None:
        super().__init__(name="stored_bert")
        self.heads = bert.heads
        weights = tf.nest.map_structure(lambda variable: variable.numpy(), bert.weights)
        self._pieces = StoredMatrix(weights.pieces, precision, axis=1)
        self._positions = WidenedMatrix(StoredMatrix(weights.positions, precision, axis=1))
        self._norm = tuple(tf.Variable(value, trainable=False) for value in weights.norm)
        self._layers = [_StoredLayer(layer, precision) for layer in weights.layers]

    def __call__(self, pieces: Any) -> Any:
        """As `encode_packed`."""
        count = tf.size(pieces.flat_values)
        weights = BertWeights(
            pieces=self._pieces.rows(pieces.flat_values),  # those of the batch, piece after piece
            positions=self._positions.read(),
            norm=self._norm,
            layers=tuple(layer.weights() for layer in self._layers),
        )
        return encode_packed(weights, pieces.with_flat_values(tf.range(count)), self.heads)

    @property
    def resources(self) -> tuple[Any, ...]:
        """What has to be tracked beside the variables for an export."""
        return (self._positions, *(matrix for layer in self._layers for matrix in layer.matrices.values()))

    @property
    def variables(self) -> tuple[Any, ...]:
        """The TensorFlow variables, in a fixed order."""
        stored = [self._pieces, *(resource._stored for resource in self.resources)]
        vectors = [*self._norm, *(vector for layer in self._layers for vector in layer.vectors)]
        return (*(variable for matrix in stored for variable in matrix.variables), *vectors)


class _StoredLayer:
    """One Transformer layer: matrices by the name of the part, and the part's vectors."""

    def __init__(self, layer: LayerWeights, precision: Precision) -> None:
        self.matrices: dict[str, WidenedMatrix] = {}
        self._vectors: dict[str, tuple[Any, ...]] = {}
        for name, values in layer._asdict().items():
            matrices, vectors = values[:-1], values[-1:]
            if np.ndim(matrices[0]) == 2:
                self.matrices[name] = WidenedMatrix(StoredMatrix(matrices[0], precision, axis=0))
            else:
                vectors = values
            self._vectors[name] = tuple(tf.Variable(value, trainable=False) for value in vectors)

    @property
    def vectors(self) -> list[Any]:
        return [vector for part in self._vectors.values() for vector in part]

    def weights(self) -> LayerWeights:
        parts = {
            name: (self.matrices[name].read(), *vectors) if name in self.matrices else vectors
            for name, vectors in self._vectors.items()
        }
        return LayerWeights(**parts)


def bytes_of(variables: Sequence[Any]) -> int:
    """What they take in a checkpoint."""
    return sum(int(variable.shape.num_elements()) * variable.dtype.size for variable in variables)
