"""Which candidates become keywords: by tf-idf, or by likeness to the text with diversity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from beam_pipelines.keywords.candidates import is_han
from beam_pipelines.keywords.frequencies import DocumentFrequencies

Floats = npt.NDArray[np.floating]


def by_tf_idf(
    candidates: Sequence[str], frequencies: DocumentFrequencies, min_items: int, max_share: float
) -> list[str]:
    """Distinct candidates that stand in neither too few nor too many texts, the highest tf-idf first.

    tf-idf is a candidate's occurrences in the text times ln(texts / texts with it) (Sparck Jones 1972; Salton and
    Buckley 1988). Of equals, the one that the text names first comes first.

    Args:
        candidates: of a text, in its order, with repetitions.
        frequencies: of the phrases of all texts.
        min_items: fewest texts.
        max_share: highest share of all texts; `min_items` of them are never too many.
    """
    counts = Counter(candidates)
    names = list(counts)
    if not names:
        return []
    known = frequencies.of(names)
    most = max(min_items, max_share * frequencies.texts)
    scores = np.fromiter(counts.values(), float) * np.log(max(frequencies.texts, 1) / np.maximum(known, 1))
    order = np.argsort(-scores, kind="stable")
    return [names[place] for place in order if min_items <= known[place] <= most]


def without_overlap(ranked: Sequence[str], count: int) -> list[str]:
    """The first `count` of which none has all of another's words: not both "star" and "star trek"."""
    chosen: list[str] = []
    for phrase in ranked:
        if len(chosen) == count:
            break
        if not any(_within(phrase, one) or _within(one, phrase) for one in chosen):
            chosen.append(phrase)
    return chosen


def _within(phrase: str, other: str) -> bool:
    return set(phrase.split()) <= set(other.split()) or (is_han(phrase) and phrase in other)


def by_relevance(text: Floats, candidates: Floats, count: int, diversity: float) -> list[int]:
    """Places of the candidates that say most of a text and little that was said: maximal marginal relevance.

    (1 - diversity) x cosine with the text - diversity x highest cosine with one that was chosen (Carbonell and
    Goldstein 1998, as KeyBERT, Grootendorst 2020, uses it).

    Args:
        text: float [E] vector.
        candidates: float [C, E] vectors.
        count: how many to choose at most.
        diversity: 0 to 1.
    """
    unit = candidates / np.maximum(np.linalg.norm(candidates, axis=1, keepdims=True), 1e-12)
    relevance = unit @ (text / max(float(np.linalg.norm(text)), 1e-12))
    chosen: list[int] = []
    likeness = np.zeros(len(unit))
    left = np.ones(len(unit), bool)
    while len(chosen) < min(count, len(unit)):
        scores = np.where(left, (1 - diversity) * relevance - diversity * likeness, -np.inf)
        best = int(np.argmax(scores))
        likeness = np.maximum(likeness, unit @ unit[best]) if chosen else unit @ unit[best]
        left[best] = False
        chosen.append(best)
    return chosen
