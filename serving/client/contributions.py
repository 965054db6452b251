"""What a score is made of, read from an explanation: pure functions without NumPy or TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from serving.client.errors import InvalidResponseError
from serving.client.results import Explanation

Kind = Literal["history", "query_word", "user_feature", "item_word"]
_OUTPUTS: dict[Kind, tuple[str, str]] = {
    "history": ("history_item_id", "history_contribution"),
    "query_word": ("query_word", "query_word_contribution"),
    "user_feature": ("user_feature", "user_feature_contribution"),
    "item_word": ("item_word", "item_word_contribution"),
}


class Contribution(NamedTuple):
    """One part of a score.

    Attributes:
        kind: what it is of.
        name: the item's id, the word, or the feature's name.
        value: what it adds to the score; negative where it takes away.
    """

    kind: Kind
    name: str
    value: float


def contributions(explanation: Explanation, *kinds: Kind) -> list[Contribution]:
    """Returns the contributions of some kinds, the largest first; an item that occurs twice counts together.

    Those of "history", "query_word" and "user_feature" add up to the score less the baseline; so do those of
    "item_word", less the item's baseline.

    Args:
        explanation: of an item, as `explain` returns it.
        kinds: which; none: all but "item_word".

    Raises:
        InvalidResponseError: the explanation has other outputs.
    """
    found: dict[tuple[Kind, str], float] = {}
    for kind in kinds or ("history", "query_word", "user_feature"):
        for name, value in _pairs(explanation, kind):
            found[kind, name] = found.get((kind, name), 0.0) + value
    listed = [Contribution(kind, name, value) for (kind, name), value in found.items()]
    return sorted(listed, key=lambda one: -one.value)


def _pairs(explanation: Explanation, kind: Kind) -> list[tuple[str, float]]:
    names, values = (_sequence(explanation, output) for output in _OUTPUTS[kind])
    if len(names) != len(values):
        raise InvalidResponseError(
            f"`{_OUTPUTS[kind][0]}` names {len(names)} parts, but `{_OUTPUTS[kind][1]}` has {len(values)} numbers"
        )
    return [(str(name), float(value)) for name, value in zip(names, values, strict=True) if name]


def _sequence(explanation: Explanation, output: str) -> Sequence[Any]:
    if output not in explanation.parts:
        if output.startswith("item_word"):
            return ()  # a model that was exported without the texts of its items
        raise InvalidResponseError(
            f"the explanation has {', '.join(sorted(explanation.parts)) or 'nothing'}, expected `{output}` among them: "
            "this model explains otherwise than `twotower export` writes it"
        )
    value: Sequence[Any] = explanation.parts[output]
    return value
