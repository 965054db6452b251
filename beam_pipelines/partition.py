"""Spreads rows over partitions by a hash of their key, as Arrow bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

_OPTIONS = pa.ipc.IpcWriteOptions(compression=None)


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 of its UTF-8 bytes, the same on every machine and in every version."""
    return zlib.crc32(key.encode()) % partitions


def partition_rows(table: pa.Table, key: str, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Splits a table by the hash of one of its columns.

    Args:
        table: [rows].
        key: name of a string column.
        partitions: how many there are.

    Yields:
        Partition and the Arrow IPC bytes of its rows, in their order; partitions without rows are left out.
    """
    if not len(table):
        return
    table = table.combine_chunks()
    encoded = table[key].combine_chunks().dictionary_encode() if len(table) else table[key]
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    names = encoded.dictionary.to_pylist()
    of_name = np.fromiter(
        (partition_of(name, partitions) for name in names), dtype=np.uint16, count=len(names)
    )
    of_row = of_name[encoded.indices.to_numpy()]
    order = np.argsort(of_row, kind="stable")
    sorted_rows = table.take(pa.array(order))
    ends = np.cumsum(np.bincount(of_row, minlength=partitions))
    begin = 0
    for partition, end in enumerate(ends.tolist()):
        if end > begin:
            yield partition, to_bytes(sorted_rows.slice(begin, end - begin))
        begin = end


def to_bytes(table: pa.Table) -> bytes:
    """Arrow IPC stream of a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()


def concat(parts: Iterable[bytes]) -> pa.Table | None:
    """All rows of several streams with one schema, or None without any stream."""
    tables = [from_bytes(part) for part in parts]
    return pa.concat_tables(tables).combine_chunks() if tables else None
