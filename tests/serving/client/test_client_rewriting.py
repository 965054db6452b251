"""Sentences in other words: only what the reasons cover is let through."""

# ruff: noqa: RUF001 - Chinese has a comma of its own

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client.rewriting import keras_rewriter, load_rewriter, reworded, uncovered
from serving.client.sentence_maker import SentenceMaker
from serving.client.sentences import Reasons, Wording, say

REASONS = Reasons(("dark",), ("Alien", "Blade Runner"), ("Sci-Fi",))
PLAIN = "Because you asked for “dark” and watched Alien and Blade Runner; both are also Sci-Fi."
CHINESE = Wording("zh")


def test_the_templates_own_sentences_are_covered():
    assert say(REASONS) == PLAIN
    for wording in (Wording(), CHINESE, Wording(verb="bought"), Wording("zh", "买过")):
        assert uncovered(say(REASONS, wording), REASONS, wording) is None


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("You asked for dark, and you watched Alien and Blade Runner, which are both Sci-Fi.", None),
        ("dark, Alien, blade runner and this: all Sci-Fi!", None),
        (
            "You asked for dark and watched Alien and Blade Runner, which are both brilliant Sci-Fi.",
            "brilliant",
        ),
        ("You asked for dark and never watched Alien and Blade Runner; both are Sci-Fi.", "never"),
        ("You asked for dark and watched Alien and Blade Runner 2049; both are Sci-Fi.", "2049"),
        ("You asked for dark and watched Alien and Blade Runner; both are Sci-Fi and Horror.", "horror"),
        ("You asked for dark and watched Alien, Casablanca and Blade Runner; both are Sci-Fi.", "casablanca"),
        ("You asked for dark and bought Alien and Blade Runner; both are Sci-Fi.", "bought"),
        ("You asked for Sci-Fi and watched Alien and Blade Runner; both are dark.", "Alien"),
        ("You watched Aliens and Blade Runner.", "dark"),
        ("You asked for dark and watched Aliens and Blade Runner; both are Sci-Fi.", "Alien"),
        ("Alien", "dark"),
        ("", "dark"),
    ],
)
def test_claims(sentence, problem):
    found = uncovered(sentence, REASONS)
    assert (found is None) if problem is None else (found is not None and repr(problem) in found)
    assert reworded(REASONS, lambda prompt: f" {sentence}\nNonsense", Wording()) == (
        PLAIN if problem else sentence
    )


@pytest.mark.parametrize(
    ("sentence", "covered"),
    [
        ("为您推荐，因为您想要“dark”，也看过《Alien》与《Blade Runner》，都是Sci-Fi。", True),
        ("因为您想找“dark”，也没看过《Alien》和《Blade Runner》，它们也都属于Sci-Fi。", False),
        ("因为您想找“dark”，也看过《Alien》和《Blade Runner》，它们也都属于经典Sci-Fi。", False),
        ("因为您想找“dark”，也看过《Blade Runner》和《Alien》，它们也都属于Sci-Fi。", False),
    ],
)
def test_claims_in_chinese(sentence, covered):
    assert (uncovered(sentence, REASONS, CHINESE) is None) == covered


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Z"]), min_size=1, max_size=30))
def test_whatever_is_added_must_claim_nothing(addition):
    said = reworded(REASONS, lambda prompt: f"{PLAIN} {addition}", Wording())
    assert said == PLAIN or uncovered(said, REASONS) is None
    if any(char.isdigit() for char in addition):
        assert said == PLAIN


def test_nothing_to_say_asks_nobody():
    def fail(prompt: str) -> str:
        raise AssertionError(prompt)

    assert reworded(Reasons(), fail) == ""


def test_the_prompt_holds_the_sentence_and_is_no_part_of_the_answer():
    class Echo:
        def generate(self, inputs: str, max_length: int | None = None) -> str:
            assert PLAIN in inputs
            assert max_length == 99
            return inputs + " You asked for dark and watched Alien and Blade Runner, both Sci-Fi."

    rewrite = keras_rewriter(Echo(), max_length=99)
    assert reworded(REASONS, rewrite) == "You asked for dark and watched Alien and Blade Runner, both Sci-Fi."


def untaught(keras_hub):
    """A GPT-2 of a few thousand random weights."""
    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ", "â", "Ģ", "ľ", "Ŀ"]
    vocabulary = {token: place for place, token in enumerate([*letters, "al", "<|endoftext|>"])}
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=["a l"])
    return keras_hub.models.GPT2CausalLM(
        backbone=keras_hub.models.GPT2Backbone(
            vocabulary_size=len(vocabulary), num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16,
            max_sequence_length=320,
        ),
        preprocessor=keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=320),
    )  # fmt: skip


def remembering(rewrite, answers):
    """The rewriter, which notes what it was asked and what it said."""

    def asked(prompt):
        answers.append((prompt, rewrite(prompt)))
        return answers[-1][1]

    return asked


@pytest.mark.slow
def test_a_language_model_of_kerashub_that_has_learned_nothing_is_not_believed(tmp_path):
    keras_hub = pytest.importorskip("keras_hub", reason="needs twotower[train]")
    model = untaught(keras_hub)
    model.save_to_preset(str(tmp_path / "gpt2"))
    for rewrite in (keras_rewriter(model, max_length=256), load_rewriter(str(tmp_path / "gpt2"))):
        answers = []
        assert reworded(REASONS, remembering(rewrite, answers)) == PLAIN
        ((prompt, answer),) = answers
        assert isinstance(answer, str)
        assert not answer.startswith(prompt)
    maker = SentenceMaker.of_texts("a\tAlien\nb\tBrazil\n", "", "en", "", str(tmp_path / "gpt2"))
    parts = {"history_item_id": ["a"], "history_contribution": [1.0]}
    parts |= {name: [] for kind in ("query_word", "user_feature") for name in (kind, f"{kind}_contribution")}
    assert maker("b", parts) == "Because you watched Alien."


@pytest.mark.slow
def test_what_is_no_language_model_is_said_in_one_line(tmp_path):
    pytest.importorskip("keras_hub", reason="needs twotower[train]")
    with pytest.raises(
        ValueError, match=r"is no causal language model that KerasHub can load: .*save_to_preset"
    ):
        load_rewriter(str(tmp_path))
