"""One item's variants: which methods are tried in which order, and what each makes of the text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from beam_pipelines.text_variants.settings import Method, TextVariantSettings

_PARTS = re.compile(r"(?<=[.!?;|\n。！？；])\s*")  # noqa: RUF001  Chinese text has marks of its own
_ATTEMPTS = 3  # for each variant that is wished for; short texts have few


class MaskedWords(Protocol):
    """What is needed of the trainer; `trainer.text_vectors.TextVectors` has it."""

    def substituted(
        self, texts: Sequence[str], share: float, candidates: int, seeds: Sequence[int]
    ) -> Sequence[str]:
        """Each text with other words in the place of some; the text itself where none can be replaced."""

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] vectors of items' texts."""

    def of_phrases(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] vectors of texts that need not be kept."""


@dataclass(frozen=True)
class Attempt:
    """A variant that was tried.

    Attributes:
        item: Row of the item.
        text: What came out; with `seed` what goes in.
        seed: Of words that are still to be replaced; None = the text is done.
    """

    item: int
    text: str
    seed: int | None = None


def variants_of(
    item_ids: Sequence[str],
    texts: Sequence[str],
    paraphrases: Sequence[Sequence[str]],
    settings: TextVariantSettings,
    seed: int,
    words: MaskedWords | None = None,
) -> list[list[str]]:
    """Variants of texts, the same for the same item, text and seed wherever it is computed.

    Args:
        item_ids: [N].
        texts: [N] texts; an empty one has no variants.
        paraphrases: [N] for each item what each template makes of it.
        settings: Which and how many.
        seed: Of all draws.
        words: Replaces words, where the settings ask for it.

    Returns:
        [N] lists of at most `settings.count` distinct texts other than the item's own.
    """
    attempts = [
        attempt
        for row, (item, text, others) in enumerate(zip(item_ids, texts, paraphrases, strict=True))
        if text.strip()
        for attempt in attempts_of(row, text, others, settings, _generator(seed, item))
    ]
    found: list[list[str]] = [[] for _ in texts]
    for attempt in _with_words_replaced(attempts, settings, words):
        kept, text = found[attempt.item], attempt.text.strip()
        if not text:
            continue
        if text.split() != texts[attempt.item].split() and text not in kept and len(kept) < settings.count:
            kept.append(text)
    return found


def attempts_of(
    row: int, text: str, paraphrases: Sequence[str], settings: TextVariantSettings, rng: np.random.Generator
) -> list[Attempt]:
    """Drawn methods applied to one text."""
    methods: list[Method] = [
        settings.methods[number]
        for number in rng.integers(0, len(settings.methods), _ATTEMPTS * settings.count)
    ]
    out = []
    for method in methods:
        if method == "masked_words":
            out.append(Attempt(row, text, int(rng.integers(2**31))))
        elif method == "word_dropout":
            out.append(Attempt(row, without_words(text, settings.share, rng)))
        elif method == "field_dropout":
            out.append(Attempt(row, without_a_part(text, rng)))
        elif paraphrases:
            out.append(Attempt(row, paraphrases[int(rng.integers(len(paraphrases)))]))
    return out


def without_words(text: str, share: float, rng: np.random.Generator) -> str:
    """The text without a share of its words, drawn one by one; one of them stays at least."""
    words = text.split()
    kept = rng.random(len(words)) >= share
    if len(words) and not kept.any():
        kept[rng.integers(len(words))] = True
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)


def without_a_part(text: str, rng: np.random.Generator) -> str:
    """The text without one of its parts; a text of a single part stays as it is."""
    parts = [part for part in _PARTS.split(text) if part.strip()]
    if len(parts) < 2:
        return text
    left_out = rng.integers(len(parts))
    return " ".join(part.strip() for place, part in enumerate(parts) if place != left_out).rstrip(" ;|")


def _with_words_replaced(
    attempts: list[Attempt], settings: TextVariantSettings, words: MaskedWords | None
) -> list[Attempt]:
    """All attempts with their texts done; those that became too unlike their text are left out."""
    waiting = [(place, attempt) for place, attempt in enumerate(attempts) if attempt.seed is not None]
    if not waiting or words is None:
        return attempts
    texts = [attempt.text for _, attempt in waiting]
    seeds = [attempt.seed or 0 for _, attempt in waiting]
    changed = words.substituted(texts, settings.share, settings.candidates, seeds)
    alike = cosines(words.of_texts(texts), words.of_phrases(changed)) >= settings.min_similarity
    out: list[Attempt | None] = list(attempts)
    for (place, attempt), text, stays in zip(waiting, changed, alike, strict=True):
        out[place] = Attempt(attempt.item, text) if stays else None
    return [attempt for attempt in out if attempt is not None]


def cosines(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 [N] cosine of each row of one float32 [N, E] with that of another; 0 for a row of zeros."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray(np.sum(first * second, axis=1) / np.maximum(lengths, 1e-12), np.float32)


def _generator(seed: int, item: str) -> np.random.Generator:
    digest = hashlib.sha256(item.encode("utf-8")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
