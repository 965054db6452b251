"""What a caller says about a user: typed, checked, and not yet tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, NamedTuple

from serving.client.errors import InvalidRequestError

FeatureValue = str | float | int | Sequence[str] | Sequence[float] | None

_LISTS = ("history", "exclude", "allow", "allow_category", "block_category")
# Numbers: their kind and limits.
_NUMBERS = {
    "max_per_category": (Integral, 0, math.inf),
    "min_score": (Real, -math.inf, math.inf),
    "diversity": (Real, 0, 1),
    "exploration": (Real, 0, math.inf),
    "seed": (Integral, -math.inf, math.inf),
}


WISH_SEPARATOR = "\x1e"
"""Stands between the wishes of a query; trainer/contract.py has the same."""


class Event(NamedTuple):
    """One thing a user did.

    Attributes:
        item_id: with which item.
        timestamp: when, in Unix seconds; 0: not known.
        event: what, in the words of the data set ("view", "purchase"); "": not known.
    """

    item_id: str
    timestamp: int = 0
    event: str = ""


@dataclass(frozen=True)
class UserQuery:
    """One user's side of a call; everything is optional, and nothing at all asks for what is popular.

    Attributes:
        history: items the user had to do with, oldest first. Ids the model does not know are passed over by
            it.
        query: what the user wishes for, in free text; or several wishes, each a text. Words after "not", "without"
            or 不要 lower their items, see docs/intents.md.
        user: features of the user by their names in the data set's schema.
        exclude: ids that must not be recommended.
        allow_category: recommend only items of one of these categories; empty: all.
        key: what an A/B split hashes, such as the user's id; it is never sent to a server.
        allow: recommend only these ids; empty: all.
        block_category: recommend no item of these categories.
        max_per_category: how many items of one category at most; 0: any number.
        min_score: leave out items that score less; None: none.
        one_per_variant: of items that are variants of each other, show only the best.
        diversity: how much unlikeness to the items above counts against the score, 0 to 1 (maximal marginal
            relevance, Carbonell and Goldstein 1998); None: not at all.
        exploration: temperature at which the place of each item is drawn, 0 or more; the answer says how likely
            each item was where it stands (`Recommendation.propensity`). None: no chance.
        seed: start of the draw; the same seed and request give the same answer.

    The fields after `key` are rules that not every model has; using one that the model lacks is refused.
    """

    history: Sequence[str | Event] = ()
    query: str | Sequence[str] = ""
    user: Mapping[str, FeatureValue] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    allow_category: Sequence[str] = ()
    key: str | None = None
    allow: Sequence[str] = ()
    block_category: Sequence[str] = ()
    max_per_category: int = 0
    min_score: float | None = None
    one_per_variant: bool = False
    diversity: float | None = None
    exploration: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _LISTS:
            if isinstance(getattr(self, name), str | bytes):
                raise InvalidRequestError(
                    f"`{name}` must be a list of ids, got the single string {getattr(self, name)!r}; "
                    f"write [{getattr(self, name)!r}]"
                )
        for name in _LISTS[1:]:
            _check_strings(name, getattr(self, name))
        _check_strings("history", self.item_ids)
        for name, limits in _NUMBERS.items():
            _check_number(name, getattr(self, name), *limits)
        if not isinstance(self.query, str | list | tuple):
            raise InvalidRequestError(
                f"`query` must be a string or a list of strings, got {type(self.query).__name__}"
            )
        if not isinstance(self.query, str):
            _check_strings("query", self.query)

    @property
    def wishes(self) -> str:
        """The query as a model takes it: all wishes in one text."""
        return self.query if isinstance(self.query, str) else WISH_SEPARATOR.join(filter(None, self.query))

    @property
    def item_ids(self) -> list[str]:
        """The ids of the history, oldest first."""
        return [event.item_id if isinstance(event, Event) else event for event in self.history]

    @property
    def events(self) -> list[Event]:
        """The history as events, oldest first."""
        return [event if isinstance(event, Event) else Event(event) for event in self.history]

    @classmethod
    def from_json(cls, value: Any) -> UserQuery:
        """Returns the query that a JSON object describes.

        Args:
            value: {"history": [id, ...] or [{"item_id", "timestamp", "event"}, ...], "query": "" or ["", ...],
                "user": {}, ...}: the fields of this class, every key optional.

        Raises:
            InvalidRequestError: an unknown key, or a value of another type.
        """
        if not isinstance(value, Mapping):
            raise InvalidRequestError(f"a request must be a JSON object, got {type(value).__name__}")
        keys = [one.name for one in fields(cls)]
        unknown = sorted(set(value) - set(keys))
        if unknown:
            raise InvalidRequestError(f"a request has no key {unknown[0]!r}; it may have {', '.join(keys)}")
        given: dict[str, Any] = dict(value)
        for name in _LISTS:
            if not isinstance(given.get(name, []), list):
                raise InvalidRequestError(f"`{name}` must be a list, got {given[name]!r}")
        if not isinstance(given.get("user", {}), Mapping):
            raise InvalidRequestError(f"`user` must be an object of features, got {given['user']!r}")
        given["history"] = [_event_from_json(event) for event in given.get("history", [])]
        return cls(**given)


def _event_from_json(value: Any) -> str | Event:
    if isinstance(value, str):
        return value
    if (
        not isinstance(value, Mapping)
        or "item_id" not in value
        or set(value) - {"item_id", "timestamp", "event"}
    ):
        raise InvalidRequestError(
            f"an entry of `history` must be an id or an object of item_id, timestamp and event, got {value!r}"
        )
    timestamp = value.get("timestamp", 0)
    if not isinstance(timestamp, int):
        raise InvalidRequestError(f"`timestamp` must be whole Unix seconds, got {timestamp!r}")
    return Event(value["item_id"], timestamp, value.get("event", ""))


def _check_strings(name: str, values: Sequence[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise InvalidRequestError(
                f"`{name}` must hold strings, got {type(value).__name__}: {value!r}; write {str(value)!r}"
            )


def _check_number(name: str, value: Any, kind: Any, least: float, most: float) -> None:
    if value in (None, 0):
        return
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
        wanted = "a whole number" if kind is Integral else "a number"
        limits = (
            "" if least == -math.inf else f" from {least:g}" + (f" to {most:g}" if most < math.inf else " up")
        )
        raise InvalidRequestError(f"`{name}` must be {wanted}{limits}, got {value!r}")
