"""What a caller says about a user: typed, checked, and not yet tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serving.client.errors import InvalidRequestError

FeatureValue = str | float | int | Sequence[str] | Sequence[float] | None

_KEYS = ("history", "query", "user", "exclude", "allow_category", "key")


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
        query: what the user wishes for, in free text.
        user: features of the user by their names in the data set's schema.
        exclude: ids that must not be recommended.
        allow_category: recommend only items of one of these categories; empty: all.
        key: what an A/B split hashes, such as the user's id; it is never sent to a server.
    """

    history: Sequence[str | Event] = ()
    query: str = ""
    user: Mapping[str, FeatureValue] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    allow_category: Sequence[str] = ()
    key: str | None = None

    def __post_init__(self) -> None:
        for name in ("history", "exclude", "allow_category"):
            if isinstance(getattr(self, name), str | bytes):
                raise InvalidRequestError(
                    f"`{name}` must be a list of ids, got the single string {getattr(self, name)!r}; "
                    f"write [{getattr(self, name)!r}]"
                )
        for name in ("exclude", "allow_category"):
            _check_strings(name, getattr(self, name))
        _check_strings("history", self.item_ids)
        if not isinstance(self.query, str):
            raise InvalidRequestError(f"`query` must be a string, got {type(self.query).__name__}")

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
            value: {"history": [id, ...] or [{"item_id", "timestamp", "event"}, ...], "query": "", "user": {},
                "exclude": [], "allow_category": [], "key": ""}, every key optional.

        Raises:
            InvalidRequestError: an unknown key, or a value of another type.
        """
        if not isinstance(value, Mapping):
            raise InvalidRequestError(f"a request must be a JSON object, got {type(value).__name__}")
        unknown = sorted(set(value) - set(_KEYS))
        if unknown:
            raise InvalidRequestError(f"a request has no key {unknown[0]!r}; it may have {', '.join(_KEYS)}")
        fields: dict[str, Any] = dict(value)
        for name in ("history", "exclude", "allow_category"):
            if not isinstance(fields.get(name, []), list):
                raise InvalidRequestError(f"`{name}` must be a list, got {fields[name]!r}")
        if not isinstance(fields.get("user", {}), Mapping):
            raise InvalidRequestError(f"`user` must be an object of features, got {fields['user']!r}")
        fields["history"] = [_event_from_json(event) for event in fields.get("history", [])]
        return cls(**fields)


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
