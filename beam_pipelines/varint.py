"""Base-128 varints, the integers of the protobuf wire format, for whole arrays at once.

Reference: https://protobuf.dev/programming-guides/encoding/#varints
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_MAX_BYTES = 10  # ceil(64 / 7): a negative int64 takes them all
_UPPER_BOUNDS = np.array([1 << (7 * i) for i in range(1, _MAX_BYTES)], dtype=np.uint64)


def encode_varints(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Encodes many integers, back to back.

    Args:
        values: [n] int64; negative ones take ten bytes, as in protobuf's `int64`.

    Returns:
        The bytes of all varints, and [n + 1] offsets: varint i is `bytes[offsets[i]:offsets[i + 1]]`.
    """
    rest = np.ascontiguousarray(values, dtype=np.int64).view(np.uint64)
    lengths = (np.searchsorted(_UPPER_BOUNDS, rest, side="right") + 1).astype(np.int64)
    offsets = np.zeros(len(rest) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    width = int(lengths.max(initial=1))
    table = np.empty((len(rest), width), dtype=np.uint8)
    column = np.arange(width, dtype=np.int64)
    for i in range(width):
        table[:, i] = ((rest >> np.uint64(7 * i)) & np.uint64(0x7F)).astype(np.uint8)
        table[:, i] |= ((lengths > i + 1).astype(np.uint8)) << 7
    if len(rest) and int(lengths.min()) == width:
        return table.reshape(-1), offsets
    return table[column < lengths[:, None]], offsets


def varint_array(values: npt.NDArray[np.int64]) -> pa.Array:
    """The varint of each value as an element of a binary array [n]."""
    data, offsets = encode_varints(values)
    return binary_array(data, offsets)


def binary_array(data: npt.NDArray[np.uint8] | pa.Buffer, offsets: npt.NDArray[np.int64]) -> pa.Array:
    """A binary array [n] over existing bytes, without copying them.

    Args:
        data: the bytes of all elements, back to back.
        offsets: [n + 1] int64, where each element starts.
    """
    buffer = data if isinstance(data, pa.Buffer) else pa.py_buffer(np.ascontiguousarray(data))
    starts = pa.py_buffer(np.ascontiguousarray(offsets, dtype=np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, [None, starts, buffer])


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads one unsigned varint.

    Returns:
        The value and the position behind it.

    Raises:
        ValueError: the data ends inside the varint, or it is longer than ten bytes.
    """
    value = shift = 0
    for index in range(position, min(len(data), position + _MAX_BYTES)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise ValueError(f"byte {position}: a varint that does not end within {_MAX_BYTES} bytes")
