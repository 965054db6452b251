"""Explanations as sentences: what they name, and what they never claim."""

# ruff: noqa: RUF001 - Chinese has a comma of its own

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import Explanation
from serving.client.contributions import Contribution, contributions
from serving.client.errors import InvalidResponseError
from serving.client.sentence_maker import SentenceMaker
from serving.client.sentences import (
    ItemFacts,
    Reasons,
    Wording,
    explain_in_words,
    find_reasons,
    say,
)

FILMS = {
    "a": ItemFacts("Alien", ("Horror", "Sci-Fi")),
    "b": ItemFacts("Blade Runner", ("Sci-Fi", "Film-Noir")),
    "c": ItemFacts("Casablanca", ("Drama", "Romance")),
    "d": ItemFacts("Dark City", ("Film-Noir", "Sci-Fi", "Horror")),
}
CHINESE = Wording("zh")


def explained(
    item: str = "d",
    history: dict[str, float] | None = None,
    words: dict[str, float] | None = None,
    own: dict[str, float] | None = None,
    user: dict[str, float] | None = None,
) -> Explanation:
    history, words, user = history or {}, words or {}, user or {}
    parts: dict[str, Any] = {
        "history_item_id": [*history], "history_contribution": [*history.values()],
        "query_word": [*words], "query_word_contribution": [*words.values()],
        "user_feature": [*user], "user_feature_contribution": [*user.values()],
    }  # fmt: skip
    if own is not None:
        parts |= {"item_word": [*own], "item_word_contribution": [*own.values()]}
    return Explanation(item, parts)


def test_contributions_come_largest_first_and_an_item_twice_counts_together():
    parts = explained(history={"a": 1.0, "b": -0.5, "": 9.0}, words={"dark": 2.0}, user={"age": 0.25}).parts
    twice = {**parts, "history_item_id": ["a", "b", ""], "history_contribution": [1.0, -0.5, 9.0]}
    again = {**twice, "history_item_id": ["a", "b", "a"], "history_contribution": [1.0, -0.5, 0.5]}
    assert contributions(Explanation("d", again)) == [
        Contribution("query_word", "dark", 2.0),
        Contribution("history", "a", 1.5),
        Contribution("user_feature", "age", 0.25),
        Contribution("history", "b", -0.5),
    ]
    assert contributions(Explanation("d", twice), "history")[0] == Contribution(
        "history", "a", 1.0
    )  # "" is padding
    assert contributions(explained(history={"a": 1.0}), "item_word") == []


def test_a_model_that_explains_otherwise_is_named():
    with pytest.raises(InvalidResponseError, match="has reason, expected `history_item_id`"):
        contributions(Explanation("d", {"reason": "x"}))
    uneven = {**explained(history={"a": 1.0}).parts, "history_contribution": []}
    with pytest.raises(InvalidResponseError, match="names 1 parts, but `history_contribution` has 0"):
        contributions(Explanation("d", uneven))


@pytest.mark.parametrize(
    ("history", "words", "english", "chinese"),
    [
        ({"a": 2.0, "b": 1.0}, {}, "Because you watched Alien and Blade Runner; both are also Sci-Fi.",
         "因为您看过《Alien》和《Blade Runner》，它们也都属于Sci-Fi。"),
        ({"b": 1.0}, {}, "Because you watched Blade Runner, which is also Film-Noir and Sci-Fi.",
         "因为您看过《Blade Runner》，它也属于Film-Noir和Sci-Fi。"),
        ({"c": 1.0}, {}, "Because you watched Casablanca.", "因为您看过《Casablanca》。"),
        ({"c": 1.0}, {"a": 0.01, "dark": 1.0, "film": 0.5},
         "Because you asked for “dark” and “film” and watched Casablanca.",
         "因为您想找“dark”和“film”，也看过《Casablanca》。"),
        ({"a": -1.0}, {"dark": -1.0}, "", ""),
        ({"zz": 3.0}, {}, "", ""),  # nobody knows its title
        ({}, {}, "", ""),
    ],
)  # fmt: skip
def test_sentences(history, words, english, chinese):
    explanation = explained(history=history, words=words)
    assert explain_in_words([explanation], FILMS) == {"d": english}
    assert explain_in_words([explanation], FILMS, CHINESE) == {"d": chinese}


def test_the_verb_and_how_many_are_named_can_be_chosen():
    explanation = explained(history={"a": 3.0, "b": 2.0, "c": 1.0})
    found = find_reasons(explanation, FILMS, most_items=3, least_share=0.0)
    assert say(found, Wording(verb="bought")) == "Because you bought Alien, Blade Runner and Casablanca."
    assert find_reasons(explanation, FILMS, most_items=1).items == ("Alien",)


def test_what_the_items_own_words_say_against_it_is_no_reason():
    explanation = explained(history={"b": 1.0}, own={"Sci-Fi": -0.5, "Film-Noir": 0.1})
    assert find_reasons(explanation, FILMS).shared == ("Film-Noir",)
    liked = explained(history={"b": 1.0}, own={"Sci-Fi.": 0.5, "Film-Noir": 0.1})
    assert find_reasons(liked, FILMS).shared == ("Sci-Fi", "Film-Noir")


def test_words_stand_in_the_order_of_the_wish():
    explanation = explained(words={"dark": 1.0, "science": 3.0, "fiction": 2.0})
    assert find_reasons(explanation, FILMS).asked == ("dark", "science", "fiction")


numbers = st.floats(-3, 3, allow_nan=False, width=32)


@given(
    st.sampled_from("abcd"),
    st.dictionaries(st.sampled_from("abcdz"), numbers),
    st.dictionaries(st.sampled_from(["dark", "film", "not", "noir"]), numbers),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(["Sci-Fi", "Horror", "the"]), numbers)),
    st.floats(0, 1),
)
def test_a_sentence_names_nothing_that_did_not_contribute(item, history, words, own, share):
    explanation = explained(item, history, words, own)
    reasons = find_reasons(explanation, FILMS, least_share=share)
    positive = sum(value for value in [*history.values(), *words.values()] if value > 0)
    enough = {name for name, value in history.items() if value > 0 and value >= share * positive}
    assert set(reasons.items) <= {FILMS[name].title for name in enough if name in FILMS}
    assert all(words[word] > 0 and words[word] >= share * positive for word in reasons.asked)
    named = [film for film in FILMS.values() if film.title in reasons.items]
    assert all(keyword in film.keywords for keyword in reasons.shared for film in [*named, FILMS[item]])
    assert bool(say(reasons)) == bool(reasons) == bool(say(reasons, CHINESE))
    for film in FILMS.values():
        assert (film.title in say(reasons)) == (film.title in reasons.items)


def test_reasons_tell_what_they_stand_on():
    found = find_reasons(explained(history={"a": 2.0}, words={"dark": 1.0}), FILMS)
    assert found.contributions == (Contribution("query_word", "dark", 1.0), Contribution("history", "a", 2.0))
    assert found.phrases == ("dark", "Alien", "Sci-Fi", "Horror") or found.phrases[:2] == ("dark", "Alien")
    assert not Reasons()


BOOKS = {
    "a": ItemFacts("Alien", ("Horror",), ("space ship", "acid")),
    "b": ItemFacts("Blade Runner", ("Film-Noir",), ("space ship", "rain", "horror")),
    "d": ItemFacts("Dark City", ("Horror",), ("space ship", "acid", "horror")),
}


@pytest.mark.parametrize(
    ("history", "english", "chinese"),
    [
        ({"a": 2.0}, "Because you watched Alien, which is also Horror and also mentions “space ship” and “acid”.",
         "因为您看过《Alien》，它也属于Horror，它也提到“space ship”和“acid”。"),
        ({"b": 2.0}, "Because you watched Blade Runner, which also mentions “space ship” and “horror”.",
         "因为您看过《Blade Runner》，它也提到“space ship”和“horror”。"),
        ({"a": 2.0, "b": 1.0}, "Because you watched Alien and Blade Runner; both also mention “space ship”.",
         "因为您看过《Alien》和《Blade Runner》，它们也都提到“space ship”。"),
    ],
)  # fmt: skip
def test_keywords_that_all_texts_share_are_mentioned(
    history: dict[str, float], english: str, chinese: str
) -> None:
    reasons = find_reasons(explained(history=history), BOOKS)
    assert say(reasons) == english
    assert say(reasons, CHINESE) == chinese
    assert reasons.phrases[-1] in english


def test_a_keyword_whose_words_speak_against_the_item_is_not_mentioned() -> None:
    against = explained(history={"a": 1.0}, own={"Space": 1.0, "ship,": -1.5, "acid": 0.25})
    assert find_reasons(against, BOOKS).mentioned == ("acid",)
    twice = explained(history={"a": 1.0}, own={"space": 1.0, "ship": -0.5, "acid": 0.25})
    assert find_reasons(twice, BOOKS).mentioned == ("space ship", "acid")


def test_a_file_of_a_dataset_has_categories_and_keywords() -> None:
    maker = SentenceMaker.of_texts(
        "d\tDark City\na\tAlien\n", "d\tHorror\tacid,rain\na\tHorror\tacid\n", "en", ""
    )
    parts = explained(history={"a": 1.0}).parts
    assert maker("d", parts) == "Because you watched Alien, which is also Horror and also mentions “acid”."
    plain = SentenceMaker.of_texts("d\tDark City\na\tAlien\n", "d\tHorror,Noir\na\tNoir\n", "en", "")
    assert plain("d", parts) == "Because you watched Alien, which is also Noir."


def test_a_maker_lets_a_rewriter_say_it_in_other_words() -> None:
    facts = {"d": ItemFacts("Dark City", ("Noir",)), "a": ItemFacts("Alien", ("Noir",))}
    parts = explained(history={"a": 1.0}).parts
    said = "You watched Alien, and this is also Noir."
    assert SentenceMaker(facts, Wording(), lambda prompt: said)("d", parts) == said
    boasting = SentenceMaker(facts, Wording(), lambda prompt: "You watched Alien, the best Noir ever.")
    assert boasting("d", parts) == "Because you watched Alien, which is also Noir."
