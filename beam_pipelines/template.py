"""Text templates over columns: `{title}[ ({year})][. {genres}]`, evaluated for whole columns.

A part in square brackets is left out of a row in which one of its columns is empty. Doubled brackets and
braces stand for themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_TOKEN = re.compile(
    r"\{\{|\}\}|\[\[|\]\]|\{(?P<column>[^{}\[\]]+)\}|(?P<bracket>[\[\]{}])|(?P<text>[^{}\[\]]+)"
)


@dataclass(frozen=True)
class Part:
    """A run of literals and columns; an optional one is dropped where a column of it is empty."""

    pieces: tuple[tuple[bool, str], ...]
    optional: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in this part."""
        return tuple(text for is_column, text in self.pieces if is_column)


def parse_template(template: str) -> tuple[Part, ...]:
    """Splits a template into parts.

    Raises:
        ValueError: a bracket or brace is not closed or stands inside another.
    """
    parts: list[Part] = []
    pieces: list[tuple[bool, str]] = []
    optional = False
    for match in _TOKEN.finditer(template):
        bracket = match["bracket"]
        if bracket in ("[", "]"):
            if optional != (bracket == "]"):
                problem = "stands inside another" if optional else "closes nothing"
                raise ValueError(f"template {template!r}: the {bracket} at {match.start()} {problem}")
            parts.append(Part(tuple(pieces), optional))
            pieces, optional = [], not optional
        elif bracket:
            raise ValueError(f"template {template!r}: the {bracket} at {match.start()} has no partner")
        elif match["column"]:
            pieces.append((True, match["column"]))
        else:
            pieces.append((False, match["text"] or match[0][0]))
    if optional:
        raise ValueError(f"template {template!r}: a [ is not closed")
    parts.append(Part(tuple(pieces), optional=False))
    return tuple(part for part in parts if part.pieces)


def template_columns(template: str) -> tuple[str, ...]:
    """The columns that a template reads."""
    return tuple(column for part in parse_template(template) for column in part.columns)


def fill_template(template: str, columns: dict[str, pa.Array], rows: int) -> pa.Array:
    """Evaluates a template for every row.

    Args:
        template: as described at the head of this file.
        columns: name to [rows] strings; null counts as empty.
        rows: how many.

    Returns:
        [rows] strings.
    """
    texts = [_fill_part(part, columns, rows) for part in parse_template(template)]
    if not texts:
        return pa.repeat(pa.scalar(""), rows)
    return pc.binary_join_element_wise(*texts, "")


def _fill_part(part: Part, columns: dict[str, pa.Array], rows: int) -> pa.Array:
    pieces = [
        pc.fill_null(columns[text], "") if is_column else pa.repeat(pa.scalar(text), rows)
        for is_column, text in part.pieces
    ]
    joined = pc.binary_join_element_wise(*pieces, "")
    if not part.optional:
        return joined
    keep = pa.repeat(pa.scalar(True), rows)
    for column in part.columns:
        keep = pc.and_(keep, pc.not_equal(pc.fill_null(columns[column], ""), ""))
    return pc.if_else(keep, joined, "")
