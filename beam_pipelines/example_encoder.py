"""Columns to serialized `tf.train.Example`s, all records at once and without TensorFlow.

An Example is `Example{features=1: Features{feature=1: map<string, Feature>}}` with
`Feature{bytes_list=1 | float_list=2 | int64_list=3}` and each list `{repeated value=1}`; numbers are packed.
Reference: tensorflow/core/example/{example,feature}.proto.

Bytes are joined by Arrow's kernels: the cost is a few copies of the output, whatever the number of records.
Tests compare the result with TensorFlow's own parser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.varint import binary_array, varint_array

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_EMPTY = pa.scalar(b"", pa.large_binary())


@dataclass(frozen=True)
class Ragged:
    """One feature of n records: all values back to back, and where each record's begin.

    Attributes:
        values: [total] strings (perhaps a dictionary of them), int64 or float32, record after record.
        splits: [n + 1] int64; record i has `values[splits[i]:splits[i + 1]]`.
    """

    values: pa.Array
    splits: npt.NDArray[np.int64]


def scalar(values: pa.Array) -> Ragged:
    """A feature with exactly one value a record."""
    return Ragged(values, np.arange(len(values) + 1, dtype=np.int64))


def encode_examples(features: dict[str, Ragged]) -> pa.Array:
    """Serializes n records.

    Args:
        features: name to values; all with the same n. Written in the order of their names, so equal records
            are equal bytes.

    Returns:
        [n] large_binary, one serialized `tf.train.Example` each.
    """
    entries = [_map_entry(name, features[name]) for name in sorted(features)]
    return _message(1, _join(*entries))


def _map_entry(name: str, feature: Ragged) -> pa.Array:
    """`Features.feature` for one name: key (field 1) and Feature (field 2), with tag and length in front."""
    kind, payload = _list_payload(feature)
    key = name.encode()
    head = bytes([0x0A, *_small_varint(len(key))]) + key
    value = _message(2, _message(kind, payload))
    return _message(1, _join(pa.scalar(head, pa.large_binary()), value))


def _list_payload(feature: Ragged) -> tuple[int, pa.Array]:
    """The field number of the list in `Feature` and the bytes of the list, a record each."""
    values = feature.values
    if pa.types.is_floating(values.type):
        data = np.ascontiguousarray(values.to_numpy(zero_copy_only=False), dtype="<f4")
        return _FLOAT_LIST, _packed(binary_array(data.view(np.uint8), feature.splits * 4))
    if pa.types.is_integer(values.type):
        numbers = varint_array(values.to_numpy(zero_copy_only=False))
        return _INT64_LIST, _packed(_regroup(numbers, feature.splits))
    return _BYTES_LIST, _regroup(_tagged_strings(values), feature.splits)


def _tagged_strings(values: pa.Array) -> pa.Array:
    """Tag, length and bytes of each string; a dictionary's strings are encoded once each."""
    if pa.types.is_dictionary(values.type):
        return _tagged_strings(values.dictionary).take(values.indices)
    return _message(1, values.cast(pa.large_binary()))


def _packed(payload: pa.Array) -> pa.Array:
    """A packed repeated field 1; left out where it is empty, as protobuf does."""
    framed = _message(1, payload)
    return pc.if_else(pc.equal(pc.binary_length(payload), 0), _EMPTY, framed)


def _regroup(elements: pa.Array, splits: npt.NDArray[np.int64]) -> pa.Array:
    """Joins neighbouring elements into one per record, without copying: only the offsets change."""
    if elements.offset:
        elements = pa.concat_arrays([elements])
    _, starts, data = elements.buffers()
    offsets = np.frombuffer(starts, dtype=np.int64, count=len(elements) + 1)
    return binary_array(data if data is not None else pa.py_buffer(b""), offsets[splits])


def _message(field: int, payload: pa.Array) -> pa.Array:
    """Puts tag (wire type 2) and length in front of each payload."""
    lengths = pc.binary_length(payload).to_numpy(zero_copy_only=False).astype(np.int64)
    return _join(pa.scalar(bytes([field << 3 | 2]), pa.large_binary()), varint_array(lengths), payload)


def _join(*parts: pa.Array | pa.Scalar) -> pa.Array:
    return pc.binary_join_element_wise(*parts, _EMPTY)


def _small_varint(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    return bytes([value & 0x7F | 0x80, *_small_varint(value >> 7)])
