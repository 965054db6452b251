"""Rows of strings without a hash table."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import ExportError
from trainer.string_lookup import StringLookup

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


@settings(deadline=None, max_examples=30)
@given(st.lists(texts, unique=True, max_size=20), st.lists(texts, max_size=5))
def test_every_value_has_its_place_and_nothing_else_has_one(values: list[str], others: list[str]) -> None:
    lookup = StringLookup(values, "ids")
    asked = [*values, *others, ""]
    expected = [values.index(text) if text in values else -1 for text in asked]
    assert lookup.lookup(tf.constant(asked)).numpy().tolist() == expected


def test_any_shape_even_without_rows() -> None:
    lookup = StringLookup(["a", "b"], "ids")
    np.testing.assert_array_equal(lookup.lookup(tf.constant([["b", "x"], ["", "a"]])), [[1, -1], [-1, 0]])
    assert lookup.lookup(tf.zeros([3, 0], tf.string)).shape == (3, 0)


def test_without_values_everything_is_unknown() -> None:
    lookup = StringLookup([], "names")
    assert lookup.lookup(tf.constant(["a", ""])).numpy().tolist() == [-1, -1]


@pytest.mark.parametrize("values", [["a", ""], ["a", "b", "a"]])
def test_what_cannot_be_told_apart_is_refused(values: list[str]) -> None:
    with pytest.raises(ExportError, match="cannot be"):
        StringLookup(values, "ids")
