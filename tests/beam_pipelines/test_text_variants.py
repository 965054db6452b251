"""Other wordings of texts: what each method makes of a text, what is kept, and what a dataset has of it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from beam_pipelines import embedding_texts
from beam_pipelines.errors import ConfigError
from beam_pipelines.text_variants.making import cosines, variants_of, without_a_part, without_words
from beam_pipelines.text_variants.settings import TextVariantSettings

TEXT = "Red tea cup. With saucer; dishwasher proof"


class Renamer:
    """Stands for the trainer: the first word becomes "tall" or "wrong" by the seed's parity."""

    def __init__(self, *_: Any) -> None:
        pass

    def substituted(
        self, texts: Sequence[str], share: float, candidates: int, seeds: Sequence[int]
    ) -> list[str]:
        assert (share, candidates) == (0.2, 8)
        first = ["tall" if seed % 2 else "wrong" for seed in seeds]
        return [f"{word} {text.split(' ', 1)[1]}" for word, text in zip(first, texts, strict=True)]

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """A text is "wrong" or not."""
        return np.array([[1.0, 3.0 * text.startswith("wrong")] for text in texts], np.float32)

    of_phrases = of_texts


def test_one_part_of_a_text_is_left_out() -> None:
    found = {without_a_part(TEXT, np.random.default_rng(seed)) for seed in range(40)}
    assert found == {
        "With saucer; dishwasher proof",
        "Red tea cup. dishwasher proof",
        "Red tea cup. With saucer",
    }
    assert without_a_part("a single part", np.random.default_rng(0)) == "a single part"


@given(st.text(), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_words_are_left_out_and_one_stays(text: str, share: float, seed: int) -> None:
    left = without_words(text, share, np.random.default_rng(seed)).split()
    words = iter(text.split())
    assert all(word in words for word in left)  # in their order
    assert bool(left) == bool(text.split())


def test_as_many_words_are_left_out_as_wished() -> None:
    text = " ".join(["word"] * 2000)
    kept = len(without_words(text, 0.3, np.random.default_rng(1)).split())
    assert abs(kept - 1400) < 5 * 20.5  # of 2,000 draws, standard deviation sqrt(2000 x 0.21)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 99))
def test_variants_are_distinct_few_and_other_texts_and_come_again(
    texts: list[str], count: int, seed: int
) -> None:
    settings = TextVariantSettings(count=count)
    ids = [f"i{number}" for number in range(len(texts))]
    found = variants_of(ids, texts, [[]] * len(texts), settings, seed)
    for text, variants in zip(texts, found, strict=True):
        assert len(variants) == len(set(variants)) <= count
        assert all(variant.strip() == variant != text for variant in variants)
    # An item's do not depend on which other items are looked at.
    assert variants_of(ids[-1:], texts[-1:], [[]], settings, seed) == found[-1:]


def test_replaced_words_must_leave_the_text_alike() -> None:
    settings = TextVariantSettings(count=8, methods=("masked_words",))
    found = variants_of(["a"], [TEXT], [[]], settings, 0, Renamer())
    assert found == [
        ["tall tea cup. With saucer; dishwasher proof"]
    ]  # the cosine of (1, 0) and (1, 3) is .32
    settings = TextVariantSettings(count=8, methods=("masked_words",), min_similarity=0.3)
    assert {text.split()[0] for text in variants_of(["a"], [TEXT], [[]], settings, 0, Renamer())[0]} == {
        "tall",
        "wrong",
    }


def test_cosines_are_of_rows() -> None:
    first = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    second = np.array([[4, 3], [0, 2], [1, 1]], np.float32)
    np.testing.assert_allclose(cosines(first, second), [24 / 25, 0, 0], atol=1e-6)


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
numerics = { kilograms = "weight" }
[features.items.categories]
tag = { column = "tags", split = " " }
[features.items.text_variants]
"""
ITEMS = """\
item\tname\ttext\ttags\tweight
i1\tCup\tA red tea cup. Small\tkitchen gift\t2
i2\tPot\tGreen tea pot; with lid\t\t1.5
i3\tRibbon\tThe ribbon. Red\tgift\t
i4\tNothing\t\t\t
"""


def build(workshop: Any, variants: str, **options: Any) -> Any:
    events = [f"u{user},i{item},{time}" for user in range(3) for time, item in enumerate((1, 2, 1, 1, 1))]
    workshop.write("events.csv", "user,item,time\n" + "\n".join(events) + "\n")
    workshop.write("items.tsv", ITEMS)
    return workshop.build(TABLES + variants, **options)


def test_a_dataset_has_variants_of_rare_items_alone(workshop: Any) -> None:
    templates = 'templates = ["{title}[: {tag}]", "{text}[ {kilograms} kg]"]'
    paraphrases = f'methods = ["paraphrase"]\n{templates}\nmax_events = 5\n'
    dataset = build(workshop, paraphrases)
    found = {item["item_id"]: sorted(item["text_variants"]) for item in dataset.items()}
    assert found == {
        "i1": [],  # has more events
        "i2": ["Green tea pot; with lid 1.5 kg", "Pot"],
        "i3": ["Ribbon: gift"],  # the other template makes nothing but the text
        "i4": [],  # has no text
    }
    (feature,) = [one for one in dataset.schema.items if one.role == "item_text_variant"]
    assert (feature.name, feature.dtype, feature.shape, feature.vocabulary) == (
        "text_variants",
        "string",
        (None,),
        None,
    )
    assert not dataset.damaged()


def test_variants_do_not_depend_on_how_the_items_are_cut_but_on_the_seed(
    workshop: Any, monkeypatch: Any
) -> None:
    whole = {item["item_id"]: item["text_variants"] for item in build(workshop, "").items()}
    assert whole["i2"]
    reseeded = build(workshop, "", top="seed = 5")
    assert {item["item_id"]: item["text_variants"] for item in reseeded.items()} != whole
    monkeypatch.setattr("beam_pipelines.plan._ITEM_BYTES_PER_SHARD", 40)
    dataset = build(workshop, "")
    assert len(list((dataset.root / "items").iterdir())) > 1
    assert {item["item_id"]: item["text_variants"] for item in dataset.items()} == whole


def test_the_trainer_replaces_words_where_that_is_a_method(workshop: Any, monkeypatch: Any) -> None:
    entry = SimpleNamespace(load=lambda: Renamer)
    monkeypatch.setattr(embedding_texts.importlib.metadata, "entry_points", lambda **_: [entry])
    found = {
        item["item_id"]: item["text_variants"]
        for item in build(workshop, 'methods = ["masked_words"]\n').items()
    }
    assert found["i3"] == ["tall ribbon. Red"]
    assert found["i4"] == []


def test_what_cannot_be_is_said(workshop: Any) -> None:
    with pytest.raises(ConfigError, match="other wordings of `text`, which is not mapped"):
        workshop.build(TABLES.replace('text = "text"\n', ""))
    with pytest.raises(ConfigError, match="templates name colour, which the items do not have"):
        workshop.build(TABLES + 'methods = ["paraphrase"]\ntemplates = ["{colour} {title}"]\n')
    with pytest.raises(ValidationError, match="need each other"):
        TextVariantSettings(methods=("paraphrase",))
