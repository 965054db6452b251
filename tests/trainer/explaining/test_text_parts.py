"""Texts as words that can be left out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.explaining.text_parts import join_parts, text_parts


def parts(text: str, limit: int = 10) -> list[str]:
    return [part.decode() for part in text_parts([text], limit).numpy()[0].tolist() if part]


def test_words_keep_the_space_behind_them():
    assert parts(" a dark\t film. ") == ["a ", "dark\t ", "film."]


def test_chinese_characters_stand_alone_as_bert_reads_them():
    assert parts("便宜的phone手机 4G") == ["便", "宜", "的", "phone", "手", "机 ", "4G"]


def test_the_last_part_holds_the_rest():
    assert parts("one two three four", limit=3) == ["one ", "two ", "three four"]
    assert parts("one two three", limit=3) == ["one ", "two ", "three"]
    assert parts("one", limit=1) == ["one"]


def test_short_texts_are_padded_and_empty_ones_have_no_part():
    assert text_parts(["one two", "", " "], 5).numpy().tolist() == [[b"one ", b"two"], [b"", b""], [b"", b""]]
    assert text_parts([""], 5).shape == (1, 0)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.integers(1, 6))
def test_all_parts_together_are_the_text(text, limit):
    whole = "".join(parts(text, limit))
    assert whole == text.replace("\x1f", "").strip(" \t\n\v\f\r") or "\x1f" in text
    assert len(parts(text, limit)) <= limit


def test_what_is_left_of_a_text():
    words = text_parts(["a dark film"], 5)[0]
    left = join_parts(words, [[True, False, True], [False, True, False], [False, False, False]])
    assert left.numpy().tolist() == [b"a film", b"dark ", b""]
