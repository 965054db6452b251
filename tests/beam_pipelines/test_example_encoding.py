from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.example_decoder import decode_example
from beam_pipelines.example_encoder import Ragged, encode_examples, scalar
from beam_pipelines.sequences import starts_of
from beam_pipelines.varint import encode_varints, read_varint

int64s = st.integers(-(2**63), 2**63 - 1)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
rows = st.lists(
    st.tuples(
        st.lists(st.text(max_size=200), max_size=4),
        st.lists(int64s, max_size=4),
        st.lists(float32s, max_size=4),
    ),
    max_size=5,
)


def _ragged(lists: list[list[Any]], kind: pa.DataType) -> Ragged:
    return Ragged(pa.array([v for values in lists for v in values], kind), starts_of([len(v) for v in lists]))


def _encode(records: Any) -> list[bytes]:
    texts, integers, floats = ([record[i] for record in records] for i in range(3))
    features = {
        "texts": _ragged(texts, pa.string()),
        "integers": _ragged(integers, pa.int64()),
        "floats": _ragged(floats, pa.float32()),
    }
    encoded: list[bytes] = encode_examples(features).to_pylist()
    return encoded


@given(st.lists(int64s, max_size=20))
def test_varints_decode_to_the_unsigned_twins_of_the_values(values: list[int]) -> None:
    data, offsets = encode_varints(np.array(values, np.int64))
    for i, value in enumerate(values):
        assert read_varint(data.tobytes(), int(offsets[i])) == (value % 2**64, offsets[i + 1])


def test_varint_of_300_is_the_one_in_the_protobuf_documentation() -> None:
    assert encode_varints(np.array([300]))[0].tobytes() == bytes([0b10101100, 0b00000010])


@given(rows)
def test_what_was_encoded_is_decoded(records: Any) -> None:
    for (texts, integers, floats), data in zip(records, _encode(records), strict=True):
        assert decode_example(data) == {
            "texts": [text.encode() for text in texts],
            "integers": integers,
            "floats": floats,
        }


@settings(max_examples=50)
@given(rows)
def test_bytes_are_those_that_tensorflow_writes(records: Any) -> None:
    from tensorflow.core.example import example_pb2

    for (texts, integers, floats), data in zip(records, _encode(records), strict=True):
        example = example_pb2.Example()
        features = example.features.feature
        features["texts"].bytes_list.value.extend([text.encode() for text in texts])
        features["integers"].int64_list.value.extend(integers)
        features["floats"].float_list.value.extend(floats)
        for name, kind in (("texts", "bytes_list"), ("integers", "int64_list"), ("floats", "float_list")):
            getattr(features[name], kind).SetInParent()
        assert example_pb2.Example.FromString(data) == example
        assert data == example.SerializeToString(deterministic=True)


def test_dictionary_columns_are_encoded_as_their_strings() -> None:
    plain = pa.array(["b", "a", "b"])
    assert encode_examples({"x": scalar(plain.dictionary_encode())}) == encode_examples({"x": scalar(plain)})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x0a\x05abc", "5 bytes, but 3 are left"),
        (b"\x08\x80", "varint that does not end"),
        (b"\x0b", "wire type 3"),
        (b"\x08\x01", "expected a message, found the number 1"),
    ],
)
def test_other_bytes_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_example(data)
