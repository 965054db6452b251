# ruff: noqa: RUF001 - Chinese has marks of its own
"""What texts ask for and what they ask to be spared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import contract
from trainer.keras_compat import tf
from trainer.lexical import LexicalSketch, LexicalSpec
from trainer.wishes import split_wishes, wish_vectors

SPLIT = tf.function(split_wishes, input_signature=[tf.TensorSpec([None], tf.string)])
# The text, what is wanted, what is not.
ENGLISH = [
    ("I want a good phone under 300, not Apple", "I want a good phone under 300", "Apple"),
    ("a good phone, not Apple, under 300", "a good phone, under 300", "Apple"),
    ("a phone not Apple under 300", "a phone under 300", "Apple"),
    ("boots without leather for winter", "boots for winter", "leather"),
    ("space film but not Star Wars", "space film", "Star Wars"),
    ("a phone, not Apple or Samsung", "a phone", "Apple or Samsung"),
    ("no horror, no gore, not Saw", "", "horror gore Saw"),
    ("Something funny. No horror please", "Something funny. please", "horror"),
    ("I don't want romance but action", "but action", "romance"),
    ("films except comedies and musicals; recent", "films; recent", "comedies and musicals"),
    ("anything but comedy", "", "comedy"),
    ("shoes w/o laces", "shoes", "laces"),
    ("a phone -apple", "a phone", "apple"),
    ("a phone NOT Apple", "a phone", "Apple"),
    ("a film that isn’t sad", "a film that", "sad"),
    ("no horror but something funny", "but something funny", "horror"),
    ("no horror please", "please", "horror"),
    ("not interested in horror", "", "horror"),
]
CHINESE = [
    ("我要一部手机，不要苹果", "我要一部手机", "苹果"),
    ("不要苹果的手机", "手机", "苹果"),
    ("除了星球大战以外的科幻电影", "科幻电影", "星球大战"),
    ("手机，不要苹果、三星", "手机", "苹果、三星"),
    ("想看科幻片，但不想看恐怖片", "想看科幻片", "恐怖片"),
    ("我不喜欢皮革，只要布", "只要布", "皮革"),
    ("沒有糖的咖啡", "咖啡", "糖"),
    ("我要 phone，不要 Apple", "我要 phone", "Apple"),
    ("a good film, 不要恐怖", "a good film", "恐怖"),
]
WHOLE = [
    "a good phone",
    "Man Without a Face, The (1993)",
    "Rebel Without a Cause",
    '"No Escape"',
    "no escape",
    "No Country for Old Men",
    "not without my daughter",
    "without a paddle",
    "not only phones",
    "no matter what",
    "Chanel No. 5",
    "chanel no 5",
    "spider-man film",
    "a notable novel",
    "是不是好看的电影",
    "不锈钢锅",
    "特别不同",
    "",
    "  two  spaces ",
]


def split(texts: Any) -> tuple[list[list[bytes]], list[bytes]]:
    wishes = SPLIT(tf.constant(texts, tf.string))
    return wishes.wanted.numpy().tolist(), wishes.unwanted.numpy().tolist()


@pytest.mark.parametrize(("text", "wanted", "unwanted"), [*ENGLISH, *CHINESE])
def test_what_is_wanted_and_what_is_not(text: str, wanted: str, unwanted: str) -> None:
    (row,), (spared,) = split([text])
    assert ([one.decode() for one in row], spared.decode()) == ([wanted], unwanted)


def test_texts_without_cue_come_back_byte_for_byte() -> None:
    odd = [b"\xff\xfe odd", b"a\x00b", b"\x1b\x1d\x1f"]
    wanted, unwanted = split([*WHOLE, *odd])
    assert [row[0] for row in wanted] == [*(text.encode() for text in WHOLE), *odd]
    assert set(unwanted) == {b""}


def test_several_wishes_stand_in_columns() -> None:
    text = contract.WISH_SEPARATOR.join(["a phone, not Apple", "", "cheap", "not red"])
    wanted, unwanted = split([text, "one", ""])
    assert wanted == [[b"a phone", b"", b"cheap", b""], [b"one", b"", b"", b""], [b""] * 4]
    assert unwanted == [b"Apple   red", b"", b""]
    wishes = split_wishes(tf.constant([text, "one", ""]))
    assert wishes.words().numpy().tolist() == [b"a phone  cheap", b"one", b""]
    assert wishes.asked().numpy().tolist() == [True, True, False]


def test_endless_texts_cost_no_more_than_long_ones() -> None:
    long = "not Apple " * 5000
    wanted, unwanted = split([long, "\x1e" * 9999, "x\x1e" * 18])
    assert (wanted[0][0], unwanted[0]) == (long.encode(), b"")
    assert [len(row) for row in wanted] == [16, 16, 16]
    assert wanted[2] == [b"x"] * 15 + [b"x x x "]


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_is_one_empty_wish(rows: int) -> None:
    wishes = SPLIT(tf.constant([""] * rows, tf.string))
    assert wishes.wanted.shape == (rows, 1)
    vectors = wish_vectors(wishes, lambda texts: tf.ones([tf.size(texts), 3]))
    assert (vectors.wanted.shape, vectors.unwanted.shape) == ((rows, 1, 3), (rows, 3))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_split_and_letters_neither_lost_nor_made(texts: list[bytes]) -> None:
    wanted, unwanted = split(texts)
    for text, row, spared in zip(texts, wanted, unwanted, strict=True):
        if spared == b"":
            assert contract.WISH_SEPARATOR.encode().join(row).strip(b"\x1e") in text
        parts = b"".join([*row, spared])
        assert {*parts} - {*b" "} <= {*text} | {*"\ufffd".encode()}


@given(st.sampled_from([*ENGLISH, *CHINESE]), st.sampled_from(WHOLE))
@settings(max_examples=30, deadline=None)
def test_rows_of_a_batch_do_not_meet(one: tuple[str, str, str], other: str) -> None:
    assert split([one[0], other]) == ([[one[1].encode()], [other.encode()]], [one[2].encode(), b""])


def test_words_that_are_not_wanted_lower_what_has_them() -> None:
    texts = ["apple phone", "samsung phone", "apple pie", "sony phone"]
    sketch = LexicalSketch(LexicalSpec.measured(texts), 2048)
    items = sketch.items(tf.constant(texts))

    def scores(text: str, strength: float = 1.0) -> Any:
        wishes = split_wishes(tf.constant([text]))
        return tf.linalg.matvec(items, sketch.asked(wishes, strength)[0]).numpy()

    plain, spared = scores("phone"), scores("a phone, not Apple")
    np.testing.assert_allclose(spared - plain, np.asarray([-1, 0, -1, 0]) * scores("apple")[0], atol=0.1)
    np.testing.assert_array_equal(scores("a phone, not Apple", 0.0), scores("a phone"))
    np.testing.assert_array_equal(
        scores("Apple phone"), tf.linalg.matvec(items, sketch.queries(tf.constant(["Apple phone"]))[0])
    )
