"""Writes files of a dataset under construction, on any file system that Beam knows."""

from __future__ import annotations

import hashlib
import uuid

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_pipelines.tfrecord import compress


def write_bytes(root: str, relative: str, data: bytes) -> str:
    """Writes a file beside its name and renames it: a repeated attempt leaves the same file.

    Args:
        root: directory under construction.
        relative: path inside it.
        data: the content.

    Returns:
        The SHA-256 of the content in hexadecimal.
    """
    final = FileSystems.join(root, *relative.split("/"))
    temporary = f"{final}.{uuid.uuid4().hex}.tmp"
    with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(data)
    FileSystems.rename([temporary], [final])
    return hashlib.sha256(data).hexdigest()


def write_shard(root: str, relative: str, records: pa.Array) -> str:
    """Writes records [n] as a gzipped TFRecord file; returns its SHA-256."""
    return write_bytes(root, relative, compress(records))


def read_bytes(root: str, relative: str) -> bytes:
    """The content of a file under construction."""
    with FileSystems.open(
        FileSystems.join(root, *relative.split("/")), compression_type=CompressionTypes.UNCOMPRESSED
    ) as file:
        data: bytes = file.read()
    return data
