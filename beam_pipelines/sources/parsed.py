"""What the parsers of text formats return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Parsed:
    """The rows of a block of text.

    Attributes:
        table: [rows] the readable records.
        bad: (0-based line in the block, reason, text) of the unreadable ones.
        locate: row of the table to (line, text).
    """

    table: pa.Table
    bad: list[tuple[int, str, str]]
    locate: Callable[[int], tuple[int, str]]
