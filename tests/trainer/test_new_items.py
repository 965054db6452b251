from __future__ import annotations

import json

import numpy as np
import pytest

from trainer.errors import ExportError
from trainer.keras_compat import tf
from trainer.new_items import read_new_items

INPUTS = {
    "text": tf.TensorSpec([None], tf.string),
    "genre": tf.TensorSpec([None, None], tf.string),
    "tag": tf.TensorSpec([None, None], tf.string),
    "year": tf.TensorSpec([None], tf.float32),
    "image": tf.TensorSpec([None, 2], tf.float32),
}


@pytest.fixture
def read(tmp_path):
    def from_rows(*rows, raw: str | None = None):
        file = tmp_path / "new.jsonl"
        file.write_text(raw if raw is not None else "\n".join(map(json.dumps, rows)), encoding="utf-8")
        return read_new_items(file, INPUTS)

    return from_rows


def test_columns_as_the_model_takes_them(read):
    new = read(
        {"item_id": "n1", "title": " A  film\n", "text": "a film", "genre": ["Drama", "War"], "year": 1990},
        {"item_id": "n2", "genre": ["War"], "tag": ["x", "War"], "image": [1, 0.5], "text": None},
    )
    assert new.ids == ("n1", "n2")
    assert new.titles == ("A film", "n2")  # one line; without a title the id
    assert new.categories == (("Drama", "War"), ("War", "x"))
    assert new.features["text"].tolist() == ["a film", ""]
    assert new.features["genre"].tolist() == [["Drama", "War"], ["War", ""]]
    assert new.features["tag"].tolist() == [["", ""], ["x", "War"]]
    np.testing.assert_array_equal(new.features["year"], np.float32([1990, np.nan]))
    assert new.features["image"].tolist() == [[0.0, 0.0], [1.0, 0.5]]
    assert new.features["image"].dtype == new.features["year"].dtype == np.float32


def test_blank_lines_and_other_line_ends_do_not_matter(read):
    raw = '\r\n{"item_id": "a"}\r\n\r\n{"item_id": "b", "text": "one\u2028two\u0085three"}\r\n'
    new = read(raw=raw)
    assert new.ids == ("a", "b")
    assert new.features["text"].tolist() == ["", "one\u2028two\u0085three"]


def message(read, *rows, raw: str | None = None) -> str:
    with pytest.raises(ExportError) as error:
        read(*rows, raw=raw)
    return str(error.value)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"title": "no id"}, 'expected an object with a string "item_id"'),
        ({"item_id": 5}, 'expected an object with a string "item_id"'),
        ({"item_id": " "}, 'expected an object with a string "item_id"'),
        (["item_id"], 'expected an object with a string "item_id"'),
        ({"item_id": "a\nb"}, "holds a line break"),
        (
            {"item_id": "x", "colour": "red"},
            "unknown feature 'colour'; the model reads genre, image, tag, text, year",
        ),
        ({"item_id": "x", "text": 5}, "'text' should be a string, got 5"),
        ({"item_id": "x", "genre": "Drama"}, "'genre' should be a list of strings, got 'Drama'"),
        ({"item_id": "x", "genre": [1]}, "'genre' should be a list of strings"),
        ({"item_id": "x", "year": "1990"}, "'year' should be a number, got '1990'"),
        ({"item_id": "x", "year": True}, "'year' should be a number"),
        ({"item_id": "x", "year": 10**400}, "'year' should be a number"),
        ({"item_id": "x", "year": float("nan")}, "'year' should be a number"),
        ({"item_id": "x", "image": [1.0]}, "'image' should be a list of 2 numbers, got [1.0]"),
        ({"item_id": "x", "image": ["a", "b"]}, "'image' should be a list of 2 numbers"),
        ({"item_id": "x", "image": 1.0}, "'image' should be a list of 2 numbers"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(read, row, expected):
    text = message(read, {"item_id": "fine"}, row)
    assert "new.jsonl:2: " in text
    assert expected in text


def test_what_is_not_json(read):
    assert "new.jsonl:1 is not JSON" in message(read, raw="{'item_id': 'a'}")


def test_nothing_at_all(read, tmp_path):
    assert "holds no items" in message(read, raw="\n\n")
    with pytest.raises(ExportError, match="Cannot read"):
        read_new_items(tmp_path / "none.jsonl", INPUTS)
    (tmp_path / "latin.jsonl").write_bytes(b'{"item_id": "\xe9"}')
    with pytest.raises(ExportError, match="Cannot read"):
        read_new_items(tmp_path / "latin.jsonl", INPUTS)


def test_an_id_that_occurs_twice(read):
    assert "a, b occur more than once" in message(read, *({"item_id": item} for item in "abcba"))
