"""Opens plain and compressed files on any file system that Beam knows."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, BinaryIO, cast

import zstandard
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

# What the libraries raise for files that are damaged, cut off or not compressed as their name says.
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError)
_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}


def compression_of(path: str) -> str:
    """The compression that a file name tells, or "none"."""
    return next((kind for suffix, kind in _SUFFIXES.items() if path.lower().endswith(suffix)), "none")


def strip_suffix(path: str) -> str:
    """The file name without the ending of its compression."""
    for suffix in _SUFFIXES:
        if path.lower().endswith(suffix):
            return path[: -len(suffix)]
    return path


def open_stream(path: str, compression: str) -> BinaryIO:
    """Opens a file for reading its decompressed bytes.

    Args:
        path: on any of Beam's file systems.
        compression: none, gzip, bzip2, xz or zstd.
    """
    raw: Any = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(raw))
    if compression == "bzip2":
        return cast(BinaryIO, bz2.open(raw))
    if compression == "xz":
        return cast(BinaryIO, lzma.open(raw))
    if compression == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return cast(BinaryIO, io.BufferedReader(reader))
    return cast(BinaryIO, raw)
