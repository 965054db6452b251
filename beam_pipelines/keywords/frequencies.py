"""In how many texts a phrase stands, in memory that does not grow with the catalogue.

A count-min sketch (Cormode and Muthukrishnan 2005): each phrase has a counter in each of a few rows, shared with
others by a hash, and the smallest of them is its number. It is never too small, and with far fewer phrases than
counters it is exact for nearly all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_ROWS, _WIDTH = 4, 1 << 20  # 16 MB; a million phrases: one in two hundred counted too high
State = tuple[int, bytes]
"""Number of texts, and the counters: what passes through Beam."""


@dataclass(frozen=True)
class DocumentFrequencies:
    """What was counted.

    Attributes:
        texts: how many there are.
        counters: uint32 [rows, width].
    """

    texts: int
    counters: npt.NDArray[np.uint32]

    @classmethod
    def counted(cls, texts: Iterable[Collection[str]]) -> DocumentFrequencies:
        """Counts each phrase of a text once.

        Args:
            texts: the phrases of each text.
        """
        counters = np.zeros((_ROWS, _WIDTH), np.uint32)
        number = 0
        for phrases in texts:
            number += 1
            for row, places in zip(counters, _places(sorted(set(phrases))).T, strict=True):
                np.add.at(row, places, 1)
        return cls(number, counters)

    @classmethod
    def from_state(cls, state: State) -> DocumentFrequencies:
        """The inverse of `to_state`."""
        return cls(state[0], np.frombuffer(state[1], np.uint32).reshape(_ROWS, _WIDTH))

    def to_state(self) -> State:
        """For passing through Beam."""
        return self.texts, self.counters.tobytes()

    def of(self, phrases: Sequence[str]) -> npt.NDArray[np.int64]:
        """int64 [P] texts with each of P phrases."""
        places = _places(phrases)
        counts = np.take_along_axis(self.counters, places.T.astype(np.int64), axis=1)
        return np.asarray(counts.min(axis=0), np.int64)


def merge_states(states: Iterable[State]) -> State:
    """Sums in any order and grouping; for Beam's combiners."""
    texts, counters = 0, np.zeros(_ROWS * _WIDTH, np.uint32)
    for number, data in states:
        texts += number
        counters += np.frombuffer(data, np.uint32)
    return texts, counters.tobytes()


def _places(phrases: Sequence[str]) -> npt.NDArray[Any]:
    """uint32 [P, rows] places of the counters."""
    digests = (hashlib.blake2b(phrase.encode(), digest_size=4 * _ROWS).digest() for phrase in phrases)
    return np.frombuffer(b"".join(digests), "<u4").reshape(-1, _ROWS) % _WIDTH
