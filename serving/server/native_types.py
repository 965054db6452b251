"""Data types for which TensorFlow has a NumPy type of its own, and the way to and from the wire codec's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.wire.dtypes import BY_NUMBER


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


NATIVE = _native_types()


def convert(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Quantized types are structures around an integer: the same bytes. Small floats and integers: values."""
    if (
        "V" in (array.dtype.kind, dtype.kind)
        and array.dtype.itemsize == dtype.itemsize
        and (array.dtype.fields or dtype.fields)
    ):
        return np.ascontiguousarray(array).view(dtype)
    return array.astype(dtype)
