"""Keywords of items: which phrases come into question, which are chosen, and what a dataset has of them."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines import embedding_texts
from beam_pipelines.errors import ConfigError, PipelineError
from beam_pipelines.keywords.candidates import STOP_WORDS, phrases
from beam_pipelines.keywords.extraction import keywords_of
from beam_pipelines.keywords.frequencies import DocumentFrequencies, merge_states
from beam_pipelines.keywords.ranking import by_relevance, by_tf_idf, without_overlap
from beam_pipelines.keywords.settings import KeywordSettings

TEXTS = st.lists(st.sampled_from(["red", "green", "blue", "the", "tea-cup", "4", "1995", ",", "手机壳", "a"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Silence of the Lambs", ["silence", "lambs"]),
        ("Star Trek: First Contact", ["star", "star trek", "trek", "first", "first contact", "contact"]),
        (
            "SET OF 3 TEA-CUPS (1995)",
            ["set", "tea-cups"],
        ),  # numbers alone say nothing; "set of 3" is three words
        ("Mr. X", ["mr"]),
        ("手机壳", ["手机", "手机壳", "机壳"]),
        ("红色iPhone 手机", ["红色", "iphone", "手机"]),
        ("\uff26\uff35\uff2c\uff2c width", ["full", "full width", "width"]),
        ("", []),
    ],
)
def test_candidates_are_phrases_between_punctuation_and_stop_words(text: str, expected: list[str]) -> None:
    assert phrases(text, 2) == expected


def test_a_phrase_may_have_stop_words_inside_and_own_ones_are_left_out() -> None:
    assert "lord of the rings" in phrases("The Lord of the Rings", 4)
    assert phrases("Assorted tea cups", 1, STOP_WORDS | {"assorted"}) == ["tea", "cups"]


@given(st.text(), st.integers(1, 3))
def test_candidates_of_any_text_have_at_most_so_many_words(text: str, most: int) -> None:
    for phrase in phrases(text, most):
        words = phrase.split(" ")
        assert 1 <= len(words) <= most
        assert words[0] not in STOP_WORDS
        assert words[-1] not in STOP_WORDS
        assert any(map(str.isalpha, phrase))


@given(st.lists(TEXTS, max_size=8))
def test_frequencies_of_few_phrases_are_exact_however_they_are_merged(texts: list[list[str]]) -> None:
    expected = Counter(word for text in texts for word in set(text))
    whole = DocumentFrequencies.counted(texts)
    halves = [DocumentFrequencies.counted(texts[start::2]).to_state() for start in (0, 1)]
    merged = DocumentFrequencies.from_state(merge_states(halves))
    names = [*expected, "never"]
    assert whole.texts == merged.texts == len(texts)
    assert whole.of(names).tolist() == merged.of(names).tolist() == [expected[name] for name in names]


def test_the_highest_tf_idf_comes_first() -> None:
    # Of 8 texts: "film" in 8, "space" in 2, "ship" in 4, "only" in 1. tf-idf here: space ln(8/2), ship 2 ln(8/4) is the
    # same number, so that the one that the text names first leads; film ln 1 = 0.
    texts = [["film"]] * 3 + [["film", "ship"]] * 3 + [["film", "ship", "space"], ["film", "space", "only"]]
    known = DocumentFrequencies.counted(texts)
    candidates = ["film", "ship", "space", "ship", "only"]
    assert math.log(8 / 2) == pytest.approx(2 * math.log(8 / 4))
    assert by_tf_idf(candidates, known, 1, 1.0) == ["only", "ship", "space", "film"]
    assert by_tf_idf(candidates, known, 2, 1.0) == ["ship", "space", "film"]
    assert by_tf_idf(candidates, known, 2, 0.5) == ["ship", "space"]
    assert by_tf_idf([], known, 1, 1.0) == []


def test_keywords_do_not_repeat_each_others_words() -> None:
    ranked = ["star trek", "star", "trek", "art", "party", "手机壳", "手机"]
    assert without_overlap(ranked, 9) == ["star trek", "art", "party", "手机壳"]
    assert without_overlap(ranked, 2) == ["star trek", "art"]


def test_diversity_trades_likeness_to_the_text_for_something_new() -> None:
    # Cosines with the text: .9, .8, .5; of the first two with each other nearly 1, of the third with the first .07.
    vectors = np.array([[0.9, 0.436], [0.8, 0.6], [0.5, -0.866]])
    text = np.array([1.0, 0.0])
    assert by_relevance(text, vectors, 3, 0.0) == [0, 1, 2]
    assert by_relevance(text, vectors, 3, 0.5) == [0, 2, 1]
    assert by_relevance(text, vectors, 1, 1.0) == [0]
    assert by_relevance(text, vectors[:0], 3, 0.5) == []


class Letters:
    """Vectors that count letters: a text is most like the phrase that has its letters."""

    def __init__(self, config: str = "", split: str = "") -> None:
        self.asked: list[list[str]] = []

    def of_texts(self, texts: Any) -> Any:
        return np.array(
            [[text.lower().count(letter) for letter in "abcdefghij"] for text in texts], np.float32
        )

    def of_phrases(self, texts: Any) -> Any:
        self.asked.append(list(texts))
        return self.of_texts(texts)


def test_each_phrase_is_encoded_once_and_the_nearest_to_the_text_come_first() -> None:
    texts = ["bad face aaaaaaa", "bad cage", "face cage"]
    settings = KeywordSettings(
        method="embedding", min_items=1, max_share=1, max_words=1, count=2, diversity=0
    )
    known = DocumentFrequencies.counted([phrases(text, 1) for text in texts])
    letters = Letters()
    found = keywords_of(texts, settings, known, letters)
    assert letters.asked == [["aaaaaaa", "bad", "cage", "face"]]
    assert found[0][0] == "aaaaaaa"  # cosine .93, next "bad" .72
    assert all(len(one) == 2 for one in found)
    assert keywords_of(["", "4"], settings, known, letters) == [[], []]


TABLES = """\
[features.events]
files = ["events.csv"]
user_id = "user"
item_id = "item"
timestamp = "time"
[features.items]
files = ["items.tsv"]
id = "item"
title = "name"
text = "text"
[features.items.categories]
tag = { column = "tags", split = " " }
[features.items.keywords]
"""
ITEMS = """\
item\tname\ttext\ttags
i1\tOne\tA red tea cup\tkitchen gift
i2\tTwo\tGreen tea cup; red ribbon\t
i3\tThree\tThe ribbon\tgift
i4\tFour\t\t
"""


def build(workshop: Any, keywords: str = "max_share = 1\n", **options: Any) -> Any:
    events = [f"u{user},i{item},{time}" for user in range(3) for time, item in enumerate((1, 2, 1, 2))]
    workshop.write("events.csv", "user,item,time\n" + "\n".join(events) + "\n")
    workshop.write("items.tsv", ITEMS)
    return workshop.build(TABLES + keywords, **options)


def test_a_dataset_has_the_keywords_of_its_items(workshop: Any) -> None:
    dataset = build(workshop)
    found = {item["item_id"]: item["keywords"] for item in dataset.items()}
    # In two texts each: "tea cup", "tea", "cup", "red", "ribbon"; within a text all have the same tf-idf.
    assert found == {
        "i1": ["red", "tea", "cup"],
        "i2": ["tea", "cup", "red", "ribbon"],
        "i3": ["ribbon"],
        "i4": [],
    }
    (feature,) = [one for one in dataset.schema.items if one.role == "item_keyword"]
    assert (feature.name, feature.shape, feature.vocabulary) == ("keywords", (None,), "vocab/keywords.txt")
    # i3 and i4 have no event: their keywords are not counted.
    assert (dataset.root / "vocab" / "keywords.txt").read_text() == "cup\t2\nred\t2\ntea\t2\nribbon\t1\n"
    assert (dataset.root / "keywords.tsv").read_text() == (
        "i1\tkitchen,gift\tred,tea,cup\ni2\t\ttea,cup,red,ribbon\ni3\tgift\tribbon\n"
    )
    assert not dataset.damaged()


def test_what_the_categories_say_is_no_keyword(workshop: Any) -> None:
    items = "i1\tOne\tsad film drama war\tDrama War\ni2\tTwo\tsad film, drama comedy\tDrama Comedy\n"
    workshop.write(
        "events.csv", "user,item,time\n" + "\n".join(f"u{u},i{u % 2 + 1},{u}" for u in range(6)) + "\n"
    )
    workshop.write("items.tsv", "item\tname\ttext\ttags\n" + items)
    dataset = workshop.build(TABLES + "max_share = 1\nmin_items = 1\n")
    # "drama war" is said by the categories; "film drama" is not, since "film" is in none of them.
    found = {item["item_id"]: item["keywords"] for item in dataset.items()}
    assert found == {"i1": ["film drama", "sad"], "i2": ["sad", "film"]}


def test_without_the_table_there_is_no_such_feature(workshop: Any) -> None:
    events = TABLES.replace("[features.items.keywords]\n", "")
    build(workshop)
    dataset = workshop.build(events)
    assert all("keywords" not in item for item in dataset.items())
    assert not (dataset.root / "keywords.tsv").exists()


def test_keywords_do_not_depend_on_how_the_items_are_cut(workshop: Any, monkeypatch: Any) -> None:
    whole = {item["item_id"]: item["keywords"] for item in build(workshop).items()}
    monkeypatch.setattr("beam_pipelines.plan._ITEM_BYTES_PER_SHARD", 40)
    dataset = build(workshop)
    assert len(list((dataset.root / "items").iterdir())) > 1
    assert {item["item_id"]: item["keywords"] for item in dataset.items()} == whole


def test_the_trainer_encodes_texts_where_that_is_the_method(workshop: Any, monkeypatch: Any) -> None:
    entry = SimpleNamespace(load=lambda: Letters)
    monkeypatch.setattr(embedding_texts.importlib.metadata, "entry_points", lambda **_: [entry])
    keywords = 'method = "embedding"\nmax_share = 1\nmax_words = 1\ncount = 1\n'
    found = {item["item_id"]: item["keywords"] for item in build(workshop, keywords).items()}
    # "A red tea cup" has the letters a 2, c 1, d 1, e 2: cosine with "tea" (a, e) .89, "red" (d, e) .67, "cup" .32.
    assert found["i1"] == ["tea"]
    assert found["i4"] == []


def test_what_cannot_be_is_said(workshop: Any, monkeypatch: Any) -> None:
    with pytest.raises(ConfigError, match="keywords are phrases of `text`, which is not mapped"):
        workshop.build(TABLES.replace('text = "text"\n', ""))
    with pytest.raises(ConfigError, match="'keywords' is taken"):
        workshop.build(TABLES.replace("tag =", "keywords ="))
    monkeypatch.setattr(embedding_texts.importlib.metadata, "entry_points", lambda **_: [])
    with pytest.raises(PipelineError, match=r"twotower\[beam,train\]"):
        build(workshop, 'method = "embedding"\n')
