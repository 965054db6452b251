"""The element types a tensor can have, and how each lies on the wire and in NumPy.

NumPy has no bfloat16, no 8-bit floats and no integers below 8 bits. Their values are handed out in the
smallest NumPy type that holds every one of them exactly: float32, int8 or uint8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from serving.wire import small_floats
from serving.wire._pool import enum

_Convert = Callable[[Any], Any]


class DType(NamedTuple):
    """One element type.

    Attributes:
        number: its value in the DataType enum.
        name: TensorFlow's name for it in Python, such as "float32".
        field: the typed list of TensorProto that holds its values.
        storage: NumPy type of one element as it lies in `tensor_content` (object for strings).
        array: NumPy type handed to users (object for strings).
        from_storage: turns an array of `storage` into one of `array`.
        to_storage: the way back, rounding to nearest even where `array` is wider.
    """

    number: int
    name: str
    field: str
    storage: np.dtype[Any]
    array: np.dtype[Any]
    from_storage: _Convert | None = None
    to_storage: _Convert | None = None


_NUMBERS = enum("DataType")


def _plain(enum_name: str, name: str, field: str, numpy_type: Any) -> DType:
    dtype = np.dtype(numpy_type)
    return DType(_NUMBERS[enum_name], name, field, dtype, dtype)


def _float8(enum_name: str) -> DType:
    form = small_floats.FLOAT8[enum_name.removeprefix("DT_").lower()]
    return DType(
        _NUMBERS[enum_name],
        enum_name.removeprefix("DT_").lower(),
        "float8_val",
        np.dtype(np.uint8),
        np.dtype(np.float32),
        form.decode,
        form.encode,
    )


STRING = DType(_NUMBERS["DT_STRING"], "string", "string_val", np.dtype(object), np.dtype(object))

_ALL = (
    _plain("DT_FLOAT", "float32", "float_val", "<f4"),
    _plain("DT_DOUBLE", "float64", "double_val", "<f8"),
    _plain("DT_HALF", "float16", "half_val", "<f2"),
    _plain("DT_INT8", "int8", "int_val", "i1"),
    _plain("DT_INT16", "int16", "int_val", "<i2"),
    _plain("DT_INT32", "int32", "int_val", "<i4"),
    _plain("DT_INT64", "int64", "int64_val", "<i8"),
    _plain("DT_UINT8", "uint8", "int_val", "u1"),
    _plain("DT_UINT16", "uint16", "int_val", "<u2"),
    _plain("DT_UINT32", "uint32", "uint32_val", "<u4"),
    _plain("DT_UINT64", "uint64", "uint64_val", "<u8"),
    _plain("DT_BOOL", "bool", "bool_val", "?"),
    _plain("DT_COMPLEX64", "complex64", "scomplex_val", "<c8"),
    _plain("DT_COMPLEX128", "complex128", "dcomplex_val", "<c16"),
    STRING,
    _plain("DT_QINT8", "qint8", "int_val", "i1"),
    _plain("DT_QUINT8", "quint8", "int_val", "u1"),
    _plain("DT_QINT16", "qint16", "int_val", "<i2"),
    _plain("DT_QUINT16", "quint16", "int_val", "<u2"),
    _plain("DT_QINT32", "qint32", "int_val", "<i4"),
    # TensorFlow keeps integers below 8 bits one a byte.
    _plain("DT_INT4", "int4", "int_val", "i1"),
    _plain("DT_UINT4", "uint4", "int_val", "u1"),
    _plain("DT_INT2", "int2", "int_val", "i1"),
    _plain("DT_UINT2", "uint2", "int_val", "u1"),
    DType(
        _NUMBERS["DT_BFLOAT16"],
        "bfloat16",
        "half_val",
        np.dtype("<u2"),
        np.dtype(np.float32),
        small_floats.decode_bfloat16,
        small_floats.encode_bfloat16,
    ),
    _float8("DT_FLOAT8_E5M2"),
    _float8("DT_FLOAT8_E4M3FN"),
    _float8("DT_FLOAT8_E4M3FNUZ"),
    _float8("DT_FLOAT8_E4M3B11FNUZ"),
    _float8("DT_FLOAT8_E5M2FNUZ"),
)

BY_NUMBER = {dtype.number: dtype for dtype in _ALL}
BY_NAME = {dtype.name: dtype for dtype in _ALL}

# The range of the integers that NumPy keeps in a wider type.
NARROW_INTEGERS = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}


def by_number(number: int) -> DType:
    """Returns the type with this DataType number.

    Raises:
        ValueError: it is no type that can be sent (DT_INVALID, DT_RESOURCE, DT_VARIANT, a _REF type).
    """
    dtype = BY_NUMBER.get(number)
    if dtype is None:
        names = {value: name for name, value in _NUMBERS.items()}
        raise ValueError(f"tensor of type {names.get(number, number)} cannot cross the wire as an array")
    return dtype


def by_name(name: str) -> DType:
    """Returns the type TensorFlow calls `name` in Python, such as "float32" or "string".

    Raises:
        ValueError: there is none.
    """
    dtype = BY_NAME.get(name)
    if dtype is None:
        raise ValueError(f"no tensor type is called {name!r}; there are {', '.join(sorted(BY_NAME))}")
    return dtype


def of_array(array: Any) -> DType:
    """Returns the type that an array has without being told: strings for U, S and object arrays.

    Raises:
        ValueError: NumPy's type has no counterpart (datetimes, structured arrays, long double).
    """
    if array.dtype.kind in "USO":
        return STRING
    dtype = BY_NAME.get(array.dtype.name)
    if dtype is None:
        raise ValueError(f"NumPy type {array.dtype} has no tensor type; convert the array first")
    return dtype
