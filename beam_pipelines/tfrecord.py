"""TFRecord files: each record framed by its length and masked CRC-32C checksums, the file gzipped.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_CHUNK = 1 << 20


def masked_crc32c(data: bytes) -> int:
    """CRC-32C, rotated right by 15 bits plus a constant, as the TFRecord format asks."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def frame(records: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a TFRecord file, record by record."""
    for record in records:
        length = struct.pack("<Q", len(record))
        head = struct.pack("<I", masked_crc32c(length))
        yield length + head + record + struct.pack("<I", masked_crc32c(record))


def write_gzip(file: BinaryIO, records: Iterable[bytes], level: int = 1) -> None:
    """Writes a gzipped TFRecord file whose bytes depend on the records alone.

    Args:
        file: opened for writing bytes.
        records: serialized records.
        level: of zlib, 1 (fast) to 9 (small).
    """
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    pending: list[bytes] = []
    size = 0
    for framed in frame(records):
        pending.append(framed)
        size += len(framed)
        if size >= _CHUNK:
            file.write(compressor.compress(b"".join(pending)))
            pending, size = [], 0
    file.write(compressor.compress(b"".join(pending)))
    file.write(compressor.flush())


def read_gzip(file: BinaryIO) -> Iterator[bytes]:
    """Reads a gzipped TFRecord file and checks every checksum.

    Raises:
        ValueError: a record is cut off or a checksum does not fit.
    """
    with gzip.open(file) as data:
        while head := data.read(12):
            if len(head) < 12:
                raise ValueError("the file ends inside a record's head: it is cut off")
            length, crc = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != crc:
                raise ValueError("the checksum of a record's length does not fit: the file is damaged")
            body = data.read(length + 4)
            if len(body) < length + 4:
                raise ValueError("the file ends inside a record: it is cut off")
            if masked_crc32c(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
                raise ValueError("the checksum of a record does not fit: the file is damaged")
            yield body[:-4]
