"""JSON bodies to request messages, with the real server's rules and texts (json_tensor.cc)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.server.errors import ServingError, invalid_argument, unimplemented
from serving.server.rest.writer import dump
from serving.server.signature import TensorSpec, dtype_name
from serving.wire.dtypes import BY_NUMBER

_STRING = 7
_TYPE_NAMES = {dict: "Object", list: "Array", str: "String", bool: "", type(None): "Null"}
# What the real server reads from JSON: half, bfloat16, complex and the quantized types are not among them.
_SUPPORTED = {"float32", "float64", "int32", "int16", "int8", "uint8", "int64", "bool", "uint32", "uint64"}


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; NaN and Infinity are taken.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        value = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid value. at offset: {error.pos}") from None
    except (UnicodeDecodeError, RecursionError):
        raise invalid_argument("JSON Parse error: Invalid encoding in string. at offset: 0") from None
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {dump(value)} Is not object")
    return value


def signature_name(body: Mapping[str, Any]) -> str:
    """The signature that a body names, "" if none.

    Raises:
        ServingError: INVALID_ARGUMENT: it is not a string.
    """
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {dump(body)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def fill_inputs(body: Mapping[str, Any], specs: Mapping[str, TensorSpec], request: Any) -> bool:
    """Puts the tensors of a body's "instances" or "inputs" into a PredictRequest.

    Returns:
        True for the row format ("instances"), False for the columnar one ("inputs").

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for a type that JSON cannot carry here.
    """
    if "instances" in body and "inputs" in body:
        raise invalid_argument(
            f"JSON Value: {dump(body)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in body:
        rows = body["instances"]
        if not isinstance(rows, list):
            raise invalid_argument(f"JSON Value: {dump(body)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid_argument(f"JSON Value: {dump(body)} No values in 'instances' array")
        columns = _columns_of_rows(rows, specs)
        row_format = True
    elif "inputs" in body:
        columns = _columns(body["inputs"], specs)
        row_format = False
    else:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    for name, (shape, values) in columns.items():
        fill_tensor(request.inputs[name], specs[name].dtype, shape, values)
    return row_format


_Column = tuple[list[int], list[Any]]


def _columns_of_rows(rows: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, _Column]:
    named = _is_named(rows[0])
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    columns: dict[str, _Column] = {}
    for index, row in enumerate(rows):
        if named:
            _add_named_row(columns, index, row, specs)
            continue
        if _is_named(row):
            raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
        try:
            _add_item(columns, next(iter(specs)), row, specs)
        except ServingError as error:
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. Error: {_status(error)}"
            ) from None
    return {name: ([len(rows), *shape], values) for name, (shape, values) in columns.items()}


def _add_named_row(
    columns: dict[str, _Column], index: int, row: Any, specs: Mapping[str, TensorSpec]
) -> None:
    if not _is_named(row):
        raise invalid_argument(f"Expecting object but got list at item {index} of input list")
    for name, item in row.items():
        try:
            _add_item(columns, name, item, specs)
        except ServingError as error:
            raise invalid_argument(
                f"Failed to process element: {index} key: {name} of 'instances' list. Error: {_status(error)}"
            ) from None
    if set(row) != set(specs):
        raise invalid_argument(
            f"Failed to process element: {index} of 'instances' list. JSON object: {dump(row)} keys must be "
            f"equal to: {','.join(sorted(specs))}"
        )


def _add_item(columns: dict[str, _Column], name: str, item: Any, specs: Mapping[str, TensorSpec]) -> None:
    if name not in specs:
        raise invalid_argument(f"JSON object: does not have named input: {name}")
    shape, values = flatten(item, specs[name].dtype)
    if name not in columns:
        columns[name] = (shape, values)
        return
    known, collected = columns[name]
    if _size(known) != len(values):
        raise invalid_argument(f"Expecting tensor size: {_size(known)} but got: {len(values)}")
    if known != shape:
        raise invalid_argument(f"Expecting shape {_shape_text(known)} but got: {_shape_text(shape)}")
    collected.extend(values)


def _columns(inputs: Any, specs: Mapping[str, TensorSpec]) -> dict[str, _Column]:
    if not _is_named(inputs):
        if len(specs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                "per tensorinfo_map"
            )
        name = next(iter(specs))
        return {name: flatten(inputs, specs[name].dtype)}
    columns = {}
    for name, spec in specs.items():
        if name not in inputs:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        columns[name] = flatten(inputs[name], spec.dtype)
    return columns


def flatten(value: Any, dtype: int) -> _Column:
    """The shape of nested lists, taken from their first elements, and all values in order.

    Raises:
        ServingError: INVALID_ARGUMENT: lists of different sizes, or values of another type.
    """
    shape = _dense_shape(value)
    values: list[Any] = []
    _collect(value, 0, shape, dtype, values)
    return shape, values


def _dense_shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _collect(value: Any, level: int, shape: list[int], dtype: int, out: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {dump(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        out.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, out)


def _element(value: Any, dtype: int) -> Any:
    if dtype == _STRING:
        return string_element(value)
    kind = BY_NUMBER[dtype].name if dtype in BY_NUMBER else ""
    if isinstance(value, dict):
        raise _type_error(value, dtype)
    if kind not in _SUPPORTED:
        raise unimplemented(f"Conversion of JSON Value: {dump(value)} to type: {dtype_name(dtype)}")
    if kind == "bool":
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in ("float32", "float64"):
        if not is_number:
            raise _type_error(value, dtype)
        return float_element(value, kind)
    if not is_number or isinstance(value, float):
        raise _type_error(value, dtype)
    limits = np.iinfo(np.int32 if kind in ("int8", "int16", "uint8") else np.dtype(kind))
    if not limits.min <= value <= limits.max:
        raise _type_error(value, dtype)
    return value


def float_element(value: float, kind: str) -> float:
    """A JSON number as "float32" or "float64".

    Raises:
        ServingError: INVALID_ARGUMENT: an integer or a size that the type cannot hold.
    """
    number = float(value)
    limit = np.finfo(np.dtype(kind))
    if number in (float("inf"), float("-inf")) or number != number:
        return number
    digits = 24 if kind == "float32" else 53
    lossless = abs(value) <= (1 << digits) - 1 if isinstance(value, int) else abs(number) <= limit.max
    if not lossless:
        target = "float" if kind == "float32" else "double"
        raise invalid_argument(
            f"Cannot convert JSON value: {dump(value)} to {target} without loss of precision."
        )
    return number


def string_element(value: Any) -> bytes:
    """The bytes of a JSON string or of {"b64": "..."}.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if isinstance(value, dict):
        return decode_base64(value)
    if not isinstance(value, str):
        raise _type_error(value, _STRING)
    return value.encode("utf-8", "surrogatepass")


def is_base64(value: Any) -> bool:
    """Whether a value is {"b64": "..."} and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """The bytes of {"b64": "..."}.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {dump(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def fill_tensor(proto: Any, dtype: int, shape: list[int], values: list[Any]) -> None:
    """Puts values of a type into an empty TensorProto.

    Raises:
        ServingError: INVALID_ARGUMENT: an integer does not fit.
    """
    proto.dtype = dtype
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    kind = BY_NUMBER[dtype]
    try:
        getattr(proto, kind.field).extend(values)
    except (ValueError, OverflowError) as error:
        raise invalid_argument(str(error)) from None


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _size(shape: list[int]) -> int:
    size = 1
    for dim in shape:
        size *= dim
    return size


def _shape_text(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def type_text(value: Any) -> str:
    """What RapidJSON calls the type of a parsed value: Object, Array, String, Number, True, False or Null."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPE_NAMES.get(type(value), "Number")


def _type_error(value: Any, dtype: int) -> ServingError:
    return invalid_argument(
        f"JSON Value: {dump(value)} Type: {type_text(value)} is not of expected type: {dtype_name(dtype)}"
    )


def _status(error: ServingError) -> str:
    return f"{error.code.name}: {error.message}"
