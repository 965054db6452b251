"""Variables that learn at a rate of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Group:
    """Part of a model's variables.

    Attributes:
        name: For people.
        contains: Whether a Keras variable belongs to it; the first group that says so has it.
        rate: From the number of steps done, an int64 scalar, to the learning rate, a float32 scalar.
    """

    name: str
    contains: Callable[[Any], bool]
    rate: Callable[[Any], Any]


def group_numbers(groups: tuple[Group, ...], variables: list[Any]) -> list[int]:
    """One number a variable: 0 for the common rate, i for group i - 1."""
    return [
        next((number for number, group in enumerate(groups, start=1) if group.contains(variable)), 0)
        for variable in variables
    ]


def is_table(variable: Any) -> bool:
    """Whether a Keras variable is an embedding table of which a step reads few rows (`EmbeddingTable`, words)."""
    return bool(getattr(variable, "read_by_rows", False))


def read_by_rows(variable: Any) -> Any:
    """Marks a Keras variable as such a table, and returns it."""
    variable.read_by_rows = True
    return variable
