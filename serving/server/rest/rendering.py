"""Response messages to the real server's JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.server.errors import invalid_argument
from serving.server.rest.writer import PrettyWriter, decimal, quote
from serving.server.signature import dtype_name
from serving.server.states import State
from serving.wire import messages as wire
from serving.wire.dtypes import BY_NUMBER
from serving.wire.tensors import decode_tensor

_STRING = 7
_WRITABLE = {
    "float32",
    "float64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "int64",
    "bool",
    "uint32",
    "uint64",
    "string",
}


def predict_json(outputs: Mapping[str, Any], row_format: bool) -> bytes:
    """The body of a predict answer: {"predictions": rows} or {"outputs": columns}.

    Raises:
        ServingError: INVALID_ARGUMENT: outputs without a common first dimension (rows), or of a type that
            JSON does not carry here.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    columns = {name: _values(name, outputs[name]) for name in sorted(outputs)}
    writer = PrettyWriter()
    writer.start_object()
    (_write_rows if row_format else _write_columns)(writer, columns)
    writer.end_object()
    return writer.text()


def classification_json(result: Any) -> bytes:
    """The body of a classify answer: {"results": [[["label", score], ...], ...]}."""
    writer = PrettyWriter()
    writer.start_object()
    writer.string("results")
    writer.start_array()
    for row in result.classifications:
        writer.single_line = True
        writer.start_array()
        for one in row.classes:
            writer.start_array()
            writer.string(one.label)
            writer.raw(decimal(np.float32(one.score)))
            writer.end_array()
        writer.end_array()
        writer.single_line = False
    writer.end_array()
    writer.end_object()
    return writer.text()


def regression_json(result: Any) -> bytes:
    """The body of a regress answer: {"results": [value, ...]}."""
    writer = PrettyWriter()
    writer.start_object()
    writer.string("results")
    writer.single_line = True
    writer.start_array()
    for one in result.regressions:
        writer.raw(decimal(np.float32(one.value)))
    writer.end_array()
    writer.end_object()
    return writer.text()


def error_json(message: str) -> bytes:
    """The body of every error: {"error": text}."""
    writer = PrettyWriter()
    writer.start_object()
    writer.string("error")
    writer.string(message)
    writer.end_object()
    return writer.text()


def status_json(response: Any) -> bytes:
    """GetModelStatusResponse as protobuf writes JSON, defaults printed, int64 as strings."""
    codes = wire.StatusProto.DESCRIPTOR.fields_by_name["error_code"].enum_type.values_by_number
    versions = [
        {
            "version": str(entry.version),
            "state": State(entry.state).name,
            "status": {
                "error_code": codes[entry.status.error_code].name,
                "error_message": entry.status.error_message,
            },
        }
        for entry in response.model_version_status
    ]
    return _protobuf({"model_version_status": versions}).encode()


def metadata_json(response: Any) -> bytes:
    """GetModelMetadataResponse with its signatures unpacked."""
    spec = response.model_spec
    model_spec = {"name": spec.name, "signature_name": "", "version": str(spec.version.value)}
    signatures = wire.unpack_signature_def(response.metadata["signature_def"]).signature_def
    listed = {name: _signature(signatures[name]) for name in sorted(signatures)}
    text = (
        f'{{\n"model_spec":{_protobuf(model_spec)},\n"metadata": {{"signature_def": '
        f"{_protobuf({'signature_def': listed})}}}\n}}\n"
    )
    return text.encode()


def _protobuf(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _signature(signature: Any) -> dict[str, Any]:
    return {
        "inputs": {alias: _tensor_info(signature.inputs[alias]) for alias in sorted(signature.inputs)},
        "outputs": {alias: _tensor_info(signature.outputs[alias]) for alias in sorted(signature.outputs)},
        "method_name": signature.method_name,
        "defaults": {alias: _default(t) for alias, t in sorted(signature.defaults.items())},
    }


def _tensor_info(info: Any) -> dict[str, Any]:
    dtypes = wire.TensorInfo.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
    return {
        "dtype": dtypes[info.dtype].name if info.dtype in dtypes else info.dtype,
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim],
            "unknown_rank": info.tensor_shape.unknown_rank,
        },
        "name": info.name,
    }


def _default(proto: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(proto, preserving_proto_field_name=True)


class _Values:
    """A tensor's shape and its values as JSON texts, in order."""

    def __init__(self, shape: tuple[int, ...], texts: list[str]):
        self.shape = shape
        self.texts = texts


def _values(name: str, proto: Any) -> _Values:
    kind = BY_NUMBER.get(proto.dtype)
    if kind is None or kind.name not in _WRITABLE:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(proto.dtype)}")
    array = decode_tensor(proto)
    flat = array.ravel()
    if proto.dtype == _STRING:
        texts = [_bytes_json(v) if name.endswith("_bytes") else _text_json(v) for v in flat.tolist()]
    elif array.dtype.kind == "f":
        texts = [decimal(value) for value in flat]
    else:
        texts = [json.dumps(value) for value in flat.tolist()]
    return _Values(array.shape, texts)


def _text_json(value: bytes) -> str:
    return quote(value.decode("utf-8", "surrogateescape"))


def _bytes_json(value: bytes) -> str:
    return '{ "b64": "' + base64.b64encode(value).decode() + '" }'


def _write_rows(writer: PrettyWriter, columns: Mapping[str, _Values]) -> None:
    size = -1
    for name, values in columns.items():
        if not values.shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if size not in (-1, values.shape[0]):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {values.shape[0]} expecting: {size}"
            )
        size = values.shape[0]
    writer.string("predictions")
    writer.start_array()
    for row in range(size):
        if len(columns) > 1:
            writer.start_object()
        writer.single_line = True
        for name, values in columns.items():
            if len(columns) > 1:
                writer.string(name)
            width = len(values.texts) // size
            _write_nested(writer, values.shape[1:], values.texts[row * width : (row + 1) * width])
        writer.single_line = False
        if len(columns) > 1:
            writer.end_object()
    writer.end_array()


def _write_columns(writer: PrettyWriter, columns: Mapping[str, _Values]) -> None:
    writer.string("outputs")
    if len(columns) > 1:
        writer.start_object()
    for name, values in columns.items():
        if len(columns) > 1:
            writer.string(name)
        _write_nested(writer, values.shape, values.texts)
    if len(columns) > 1:
        writer.end_object()


def _write_nested(writer: PrettyWriter, shape: tuple[int, ...], texts: list[str]) -> None:
    if not shape:
        writer.raw(texts[0])
        return
    writer.start_array()
    width = len(texts) // shape[0] if shape[0] else 0
    for index in range(shape[0]):
        _write_nested(writer, shape[1:], texts[index * width : (index + 1) * width])
    writer.end_array()
