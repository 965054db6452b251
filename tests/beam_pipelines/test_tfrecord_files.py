from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.tfrecord import compress, frame, read_gzip


def _array(records: list[bytes]) -> pa.Array:
    return pa.array(records, pa.large_binary())


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_what_was_written_is_read(records: list[bytes]) -> None:
    assert list(read_gzip(io.BytesIO(compress(_array(records))))) == records


def test_tensorflow_reads_the_files(tmp_path: Path) -> None:
    import tensorflow as tf

    records = [b"", b"abc", bytes(range(256)) * 50]
    path = tmp_path / "x.tfrecord.gz"
    path.write_bytes(compress(_array(records)))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(path), compression_type="GZIP")] == records


def test_bytes_depend_on_the_records_alone() -> None:
    sliced = _array([b"x", b"a", b"b"])[1:]
    assert compress(sliced) == compress(_array([b"a", b"b"]))


@pytest.mark.parametrize("position", [0, 8, 12, -1])
def test_a_flipped_byte_is_found(position: int) -> None:
    data = bytearray(frame(_array([b"some record"])))
    data[position] ^= 1
    with pytest.raises(ValueError, match=r"checksum|cut off"):
        list(read_gzip(io.BytesIO(gzip.compress(bytes(data)))))


@pytest.mark.parametrize("kept", [5, 20])
def test_a_cut_off_file_is_found(kept: int) -> None:
    data = bytes(frame(_array([b"some record"])))[:kept]
    with pytest.raises(ValueError, match="cut off"):
        list(read_gzip(io.BytesIO(gzip.compress(data))))
