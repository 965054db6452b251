"""The distinct texts of a catalogue and of its query views, and who has which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TextRows:
    """Texts, each once.

    Attributes:
        texts: U distinct texts; the first stands for all that are blank.
        items: int32 [N] the text of each item.
        views: int32 [N, V] the query views of each item; V may be 0.
    """

    texts: tuple[str, ...]
    items: npt.NDArray[np.int32]
    views: npt.NDArray[np.int32]

    @classmethod
    def of(cls, items: Sequence[str], views: Sequence[Sequence[str]]) -> TextRows:
        """Numbers the texts in the order in which they come.

        Args:
            items: [N] texts.
            views: V lists of N texts.
        """
        rows = {"": 0}

        def numbered(texts: Sequence[str]) -> npt.NDArray[np.int32]:
            kept = (text if text.strip() else "" for text in texts)
            return np.asarray([rows.setdefault(text, len(rows)) for text in kept], np.int32)

        columns = [numbered(texts) for texts in (items, *views)]
        table = np.stack(columns[1:], axis=1) if views else np.zeros((len(items), 0), np.int32)
        return cls(tuple(rows), columns[0], table)
