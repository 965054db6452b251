"""Texts to keywords."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from beam_pipelines.keywords.candidates import STOP_WORDS, phrases
from beam_pipelines.keywords.frequencies import DocumentFrequencies
from beam_pipelines.keywords.ranking import by_relevance, by_tf_idf, without_overlap
from beam_pipelines.keywords.settings import KeywordSettings

_TEXTS = 2048  # taken together: bounds what is in memory, and repeated phrases are encoded once


class TextEncoding(Protocol):
    """What is needed of the trainer; `trainer.text_vectors.TextVectors` has it."""

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] vectors of items' texts, which are kept for the training."""

    def of_phrases(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] vectors of phrases, which are not kept."""


def candidates_of(text: str, settings: KeywordSettings) -> list[str]:
    """The candidates of a text; see `phrases`."""
    own = frozenset(word.casefold() for word in settings.stop_words)
    return phrases(text, settings.max_words, STOP_WORDS | own if own else STOP_WORDS)


def keywords_of(
    texts: Sequence[str],
    settings: KeywordSettings,
    frequencies: DocumentFrequencies,
    encoding: TextEncoding | None = None,
    known: Sequence[Collection[str]] | None = None,
) -> list[list[str]]:
    """Keywords of each text, the best first.

    Args:
        texts: Of items.
        settings: How many of what kind.
        frequencies: Of the phrases of all items' texts.
        encoding: Of the method embedding.
        known: Of each text words that are said elsewhere; a phrase of nothing else is no keyword.
    """
    found: list[list[str]] = []
    for start in range(0, len(texts), _TEXTS):
        part = texts[start : start + _TEXTS]
        said = known[start : start + _TEXTS] if known is not None else [()] * len(part)
        ranked = [
            by_tf_idf(_new(text, words, settings), frequencies, settings.min_items, settings.max_share)
            for text, words in zip(part, said, strict=True)
        ]
        if encoding is None:
            found += [without_overlap(one, settings.count) for one in ranked]
        else:
            found += _by_encoding(part, [one[: settings.candidates] for one in ranked], settings, encoding)
    return found


def _new(text: str, known: Collection[str], settings: KeywordSettings) -> list[str]:
    candidates = candidates_of(text, settings)
    return [phrase for phrase in candidates if not set(phrase.split()) <= set(known)] if known else candidates


def _by_encoding(
    texts: Sequence[str], ranked: Sequence[list[str]], settings: KeywordSettings, encoding: TextEncoding
) -> list[list[str]]:
    names = sorted({phrase for one in ranked for phrase in one})
    if not names:
        return [[] for _ in texts]
    place = {name: number for number, name in enumerate(names)}
    whole, parts = encoding.of_texts(texts), encoding.of_phrases(names)
    found = []
    for text, candidates in zip(whole, ranked, strict=True):
        vectors = parts[[place[phrase] for phrase in candidates]]
        order = by_relevance(text, vectors, len(candidates), settings.diversity)
        found.append(without_overlap([candidates[number] for number in order], settings.count))
    return found
