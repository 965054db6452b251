"""A language model may put a sentence in other words; what it says is compared with the facts.

The comparison is strict rather than clever. After the phrases that may be named are taken out, each in its place and
once, nothing may be left but words that claim nothing: articles, connectives, and those of the template. A title that
is not among the reasons, a number, a negation, praise: anything else, and the template's own sentence stands.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable
from typing import Protocol

from serving.client.sentences import ENGLISH, Language, Reasons, Wording, say

Rewrite = Callable[[str], str]
"""What a language model makes of a prompt."""

_FREE_WORDS = (
    "a all also and another are as asked because both for here is it mention mentions of one picked recommend "
    "recommended share since so suggest suggested that the them these they this too we were which wanted wished with "
    "you your"
)
_FREE: dict[Language, frozenset[str]] = {
    "en": frozenset(_FREE_WORDS.split()),
    "zh": frozenset("因为您你所以我们给为了推荐这它们也都是属于提到和与、想找要的个此"),
}
"""What is said in sentences and claims nothing: words in English, characters in Chinese."""
_PROMPTS: dict[Language, str] = {
    "en": "Say the same in other words, in one sentence, and add nothing.\nSentence: {sentence}\nIn other words:",
    "zh": "用另一种说法表达同样的意思，只用一句话，不要添加任何内容。\n句子：{sentence}\n另一种说法：",  # noqa: RUF001
}


class CausalLanguageModel(Protocol):
    """What is needed of a `keras_hub.models.CausalLM`."""

    def generate(self, inputs: str, max_length: int | None = None) -> str:
        """Continues a text, and returns it with what it began with."""


def load_rewriter(preset: str, max_length: int = 256) -> Rewrite:
    """Returns a rewriter by the name of a KerasHub preset, or by the folder of one.

    Args:
        preset: such as "gemma_instruct_2b_en".
        max_length: tokens of prompt and answer together.

    Raises:
        ValueError: KerasHub is not installed, or it has no such causal language model.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(
            f"A rewriter needs KerasHub, which cannot be imported ({error}): pip install 'twotower[train]'."
        ) from error
    try:
        model = keras_hub.models.CausalLM.from_preset(preset)
    except Exception as error:  # KerasHub, its hubs and Keras each raise errors of their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{preset} is no causal language model that KerasHub can load: {reason} Give the name of a preset, or a "
            "folder that `save_to_preset` wrote."
        ) from error
    return keras_rewriter(model, max_length)


def keras_rewriter(model: CausalLanguageModel, max_length: int = 256) -> Rewrite:
    """Returns a rewriter around a causal language model of KerasHub.

    Args:
        model: such as `keras_hub.models.CausalLM.from_preset("gemma_instruct_2b_en")`, a strict one where it samples.
        max_length: tokens of prompt and answer together.
    """
    one_at_a_time = threading.Lock()  # the caches of a generation belong to the model

    def rewrite(prompt: str) -> str:
        with one_at_a_time:
            text = str(model.generate(prompt, max_length=max_length))
        return text.removeprefix(prompt)

    return rewrite


def reworded(reasons: Reasons, rewrite: Rewrite, wording: Wording = ENGLISH) -> str:
    """Returns the rewriter's sentence if the reasons cover all that it claims, else the template's.

    Args:
        reasons: all that may be claimed.
        rewrite: is asked once. If it raises, so does this.
        wording: of the template, whose verb the rewriter must keep.
    """
    plain = say(reasons, wording)
    if not plain:
        return ""
    lines = rewrite(_PROMPTS[wording.language].format(sentence=plain)).strip().splitlines()
    said = lines[0].strip() if lines else ""
    return said if uncovered(said, reasons, wording) is None else plain


def uncovered(sentence: str, reasons: Reasons, wording: Wording = ENGLISH) -> str | None:
    """Returns what a sentence claims beyond its reasons, or None.

    Args:
        sentence: as a rewriter puts it.
        reasons: all that may be claimed.
        wording: language and verb.
    """
    text, begin, rest = unicodedata.normalize("NFC", sentence), 0, ""
    for phrase in reasons.phrases:
        found = _find(text, unicodedata.normalize("NFC", phrase), begin, wording.language)
        if found is None:
            return f"{phrase!r} is missing, or stands elsewhere"
        rest += text[begin : found[0]] + " "
        begin = found[1]
    rest += text[begin:]
    left = _claims(rest, wording)
    return f"{left[0]!r} is not among the reasons" if left else None


def _find(text: str, phrase: str, begin: int, language: Language) -> tuple[int, int] | None:
    """Where a phrase stands as words of its own; Chinese has no spaces to tell by."""
    edge = r"(?<!\w){}(?!\w)" if language == "en" else "{}"
    found = re.compile(edge.format(re.escape(phrase)), re.IGNORECASE).search(text, begin)
    return None if found is None else found.span()


def _claims(text: str, wording: Wording) -> list[str]:
    """What is left of a text without words that claim nothing."""
    free = _FREE[wording.language]
    if wording.language == "zh":
        text = text.replace(wording.done, "")
        letters = [sign for sign in text if unicodedata.category(sign)[0] in "LN" or sign in "%+"]
        return [sign for sign in letters if sign not in free]
    verbs = {word.casefold() for word in wording.done.split()}
    words = re.findall(r"[^\W_]+|[%+]", text.casefold())
    return [word for word in words if word not in free and word not in verbs]
