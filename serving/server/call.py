"""One run of a model: which tensors are fed, with what, and which are fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.server.errors import invalid_argument
from serving.server.signature import Signature, TensorSpec, dtype_name
from serving.wire.dtypes import BY_NUMBER
from serving.wire.tensors import TensorError, decode_tensor, encode_tensor

Array = npt.NDArray[Any]


def _native_types() -> dict[int, np.dtype[Any]]:
    """TensorFlow's own NumPy type of each data type that the wire codec hands out as another one."""
    found = {}
    for number, kind in BY_NUMBER.items():
        try:
            native = np.dtype(tf.as_dtype(number).as_numpy_dtype)
        except (TypeError, KeyError):
            continue  # newer on the wire than in this TensorFlow
        if native != kind.array:
            found[number] = native
    return found


_NATIVE = _native_types()


def _convert(array: Array, dtype: np.dtype[Any]) -> Array:
    """Quantized types are structures around an integer: the same bytes. Small floats and integers: values."""
    if (
        "V" in (array.dtype.kind, dtype.kind)
        and array.dtype.itemsize == dtype.itemsize
        and (array.dtype.fields or dtype.fields)
    ):
        return np.ascontiguousarray(array).view(dtype)
    return array.astype(dtype)


@dataclass(frozen=True)
class Call:
    """A checked request, ready to run.

    Attributes:
        feeds: tensor names fed, each once, sorted.
        arrays: one array a feed.
        fetches: tensor names fetched, each once.
        aliases: output name -> tensor name, in the order of the response.
        output_dtypes: output name -> DataType number.
        batchable: whether its rows may be joined with those of other calls.
    """

    feeds: tuple[str, ...]
    arrays: tuple[Array, ...]
    fetches: tuple[str, ...]
    aliases: Mapping[str, str]
    output_dtypes: Mapping[str, int]
    batchable: bool

    def rows(self) -> int | None:
        """Size of the first dimension of every input; None when they have none or differ."""
        sizes = {array.shape[0] if array.ndim else None for array in self.arrays}
        return sizes.pop() if len(sizes) == 1 else None


def decode_input(alias: str, proto: Any) -> Array:
    """The array of a request's TensorProto.

    Raises:
        ServingError: INVALID_ARGUMENT "tensor parsing error: ALIAS".
    """
    try:
        array = decode_tensor(proto)
    except TensorError:
        raise invalid_argument(f"tensor parsing error: {alias}") from None
    native = _NATIVE.get(proto.dtype)
    return array if native is None else _convert(array, native)


def check_dtypes(feeds: Sequence[tuple[str, int, int]]) -> None:
    """Compares what each tensor expects with what came, in the order of the tensors' names.

    Args:
        feeds: (tensor name, expected DataType, DataType that came).

    Raises:
        ServingError: INVALID_ARGUMENT "Expects arg[0] to be float but int64 is provided".
    """
    for index, (_, expected, got) in enumerate(sorted(feeds)):
        if expected != got:
            raise invalid_argument(
                f"Expects arg[{index}] to be {dtype_name(expected)} but {dtype_name(got)} is provided"
            )


def make_call(
    signature: Signature,
    arrays: Mapping[str, Array],
    outputs: Mapping[str, TensorSpec] | None = None,
) -> Call:
    """Builds the call of a signature from one array an input alias.

    Args:
        signature: what is called.
        arrays: alias -> array; every input has one.
        outputs: the outputs wanted; None means all of the signature.
    """
    chosen = signature.outputs if outputs is None else outputs
    by_tensor = {signature.inputs[alias].tensor_name: array for alias, array in arrays.items()}
    feeds = tuple(sorted(by_tensor))
    return Call(
        feeds=feeds,
        arrays=tuple(by_tensor[name] for name in feeds),
        fetches=tuple(dict.fromkeys(spec.tensor_name for spec in chosen.values())),
        aliases={alias: spec.tensor_name for alias, spec in chosen.items()},
        output_dtypes={alias: spec.dtype for alias, spec in chosen.items()},
        batchable=signature.batchable,
    )


def encode_output(array: Array, dtype: int, as_content: bool = False) -> Any:
    """The TensorProto of an output, with typed fields (`float_val` ...) as the real server sends it.

    Args:
        array: what the model returned.
        dtype: DataType number of the output.
        as_content: fill `tensor_content` instead (--enable_serialization_as_tensor_content).
    """
    if dtype in _NATIVE:
        array = _convert(array, BY_NUMBER[dtype].array)
    return encode_tensor(array, tf.as_dtype(dtype).name, typed=not as_content)
