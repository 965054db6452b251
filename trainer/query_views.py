"""Texts that stand for what a user might type when the item is what they want.

Data without queries of its own still teaches the query tower to read: from the item's text and title, its categories
alone, and its text with half of the words left out (word dropout, Iyyer 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.catalogue import Catalogue
from trainer.config import TrainConfig
from trainer.dataset import DatasetDirectory


def query_views(
    dataset: DatasetDirectory, catalogue: Catalogue, texts: Sequence[str], config: TrainConfig
) -> list[list[str]]:
    """V lists of N texts each; where an item lacks a view its text takes the place."""
    views = [list(texts), [title or text for title, text in zip(catalogue.titles, texts, strict=True)]]
    for feature in dataset.with_role("items", "item_category"):
        lists = catalogue.columns[feature.name]
        words = [" ".join(row) if isinstance(row, tuple) else str(row) for row in lists]
        views.append([view or text for view, text in zip(words, texts, strict=True)])
    return [*views, *drop_words(texts, config.query_text.word_dropouts, config.seed)]


def drop_words(texts: Sequence[str], variants: int, seed: int) -> list[list[str]]:
    """`variants` copies of each text, each word kept with probability one half and at least one word kept.

    The choice depends on the text and the seed alone, so that the vectors of a text are found in the cache again.
    """
    out: list[list[str]] = [[] for _ in range(variants)]
    for text in texts:
        words = text.split()
        rng = np.random.default_rng([seed, *text.encode("utf-8")[:64]])
        for variant in out:
            keep = rng.random(len(words)) < 0.5
            if len(words) and not keep.any():
                keep[rng.integers(len(words))] = True
            variant.append(" ".join(word for word, kept in zip(words, keep, strict=True) if kept))
    return out
