"""Sentences for explanations, made by whatever distribution offers them."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_pipelines.contract import digest
from beam_pipelines.errors import ConfigError, ModelError
from beam_pipelines.scoring.settings import ScoreSettings

_GROUP = "twotower.sentences"
_LISTS = 2  # dimensions of an answer's outputs that hold a list for each item
Maker = Callable[[str, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Sentences:
    """Which sentences are made; the entry point `template` of the group `twotower.sentences` makes them.

    Attributes:
        titles: content of a titles.tsv.
        keywords: content of a file such as a dataset's keywords.tsv; may be empty.
        language: "en" or "zh".
        verb: what people do with items; empty: as the entry point has it.
        rewriter: a causal language model that may put sentences in other words; empty: none.
    """

    titles: str
    keywords: str
    language: str
    verb: str
    rewriter: str = ""

    @classmethod
    def of(cls, settings: ScoreSettings) -> Sentences | None:
        """What the settings ask for; None without titles.

        Raises:
            ConfigError: a file cannot be read, or sentences are wanted of something else than explanations.
        """
        if settings.titles is None:
            if settings.rewriter:
                raise ConfigError("a rewriter puts sentences in other words, which need --titles; add them.")
            return None
        if settings.task != "explain":
            raise ConfigError("titles are for the sentences of `score explain`; leave them out.")
        keywords = _text(settings.keywords) if settings.keywords else ""
        return cls(_text(settings.titles), keywords, settings.language, settings.verb, settings.rewriter)

    def digest(self) -> str:
        """Equal digests make equal sentences of equal explanations."""
        return digest(asdict(self))

    def said(self, item_ids: list[str], answer: Mapping[str, Any]) -> npt.NDArray[Any]:
        """One sentence an item of an answer of `explain`, as an object array [N] of bytes; b"" where nothing is said.

        Args:
            item_ids: [N] that were asked for.
            answer: outputs [M, ...] of one record by name, M >= N.
        """
        maker = _maker(self)
        sentences = np.empty(len(item_ids), object)
        for place, item in enumerate(item_ids):
            parts = {
                name: _plain(values[place]) for name, values in answer.items() if np.ndim(values) == _LISTS
            }
            sentences[place] = maker(item, parts).encode()
        return sentences


@functools.lru_cache(maxsize=4)
def _maker(sentences: Sentences) -> Maker:
    found = importlib.metadata.entry_points(group=_GROUP, name="template")
    if not found:
        raise ModelError(
            f"nothing that makes sentences is installed: no distribution offers the entry point template of {_GROUP}. "
            "Install twotower again, or leave --titles out."
        )
    try:
        maker: Maker = next(iter(found)).load()(**asdict(sentences))
    except ValueError as error:
        raise ModelError(str(error)) from error
    return maker


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.tolist()
    ]


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}).") from None
