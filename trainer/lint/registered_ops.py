"""Prints the ops that a TensorFlow library registers, one a line: ``registered_ops.py FOLDER [LIBRARY ...]``.

FOLDER holds `libtensorflow_cc.so.2` and `libtensorflow_framework.so.2` as the wheel of any release does; each
LIBRARY adds custom ops, such as those of TF.Text. Nothing is imported from the wheel, so it need not fit this
Python. One process can hold one TensorFlow only: run this file, do not import it beside TensorFlow.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path


class _Buffer(ctypes.Structure):
    """TF_Buffer of tensorflow/c/tf_buffer.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("data_deallocator", ctypes.c_void_p),
    )


def registered_ops(folder: Path, libraries: list[Path]) -> list[str]:
    """Names of all ops registered once TensorFlow and the libraries are loaded, sorted."""
    for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
        tensorflow = ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    for library in libraries:
        ctypes.CDLL(str(library))
    tensorflow.TF_GetAllOpList.restype = ctypes.POINTER(_Buffer)
    buffer = tensorflow.TF_GetAllOpList().contents
    op_list = ctypes.string_at(buffer.data, buffer.length)
    # OpList.op and OpDef.name are both field 1 of their messages (tensorflow/core/framework/op_def.proto).
    return sorted(next(_fields(op, 1)).decode() for op in _fields(op_list, 1))


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The length-delimited fields with this number in a serialized protocol buffer."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 == 0:
            _, position = _varint(message, position)
        elif key & 7 == 2:
            size, position = _varint(message, position)
        if key == number << 3 | 2:
            yield message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


if __name__ == "__main__":
    sys.stdout.write("\n".join(registered_ops(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])))
