"""Records of datasets and of raw files as inputs of a signature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from beam_pipelines.reader import Record
from beam_pipelines.scoring.signature import TensorSpec

# The inputs that every exported model may have; trainer/contract.py has the names.
HISTORY, TIMESTAMPS, EVENTS = "history_item_id", "history_timestamp", "history_event"
WISH_SEPARATOR = "\x1e"
QUERY, EXCLUDE, ALLOW, ITEM = "query", "exclude_item_id", "allow_category", "item_id"
_RENAMED = {"exclude": EXCLUDE, "allow_category": ALLOW, "query": QUERY, "items": ITEM}
_FEATURE_ROLES = (
    "user_category",
    "user_numeric",
    "item_text",
    "item_category",
    "item_numeric",
    "item_vector",
)


@dataclass(frozen=True)
class Place:
    """Where a record stands.

    Attributes:
        file: label of the file.
        line: from 0, inside its block; in Parquet and TFRecord files the row.
        block: of the file, from 0.
    """

    file: str
    line: int
    block: int = 0


@dataclass(frozen=True)
class BlockEnd:
    """Comes after the last record of a block, and says how many lines it has."""

    file: str
    block: int
    lines: int


@dataclass(frozen=True)
class InputRow:
    """One record that can be scored.

    Attributes:
        key: id of the user or item.
        fields: values by input name.
        place: for messages.
    """

    key: str
    fields: dict[str, Any]
    place: Place


@dataclass(frozen=True)
class Refused:
    """One record that cannot be scored.

    Attributes:
        reason: a short word.
        detail: a sentence.
        record: its text, cut.
        place: where it stands.
    """

    reason: str
    detail: str
    record: str
    place: Place

    def to_list(self) -> list[Any]:
        """For a JSON file; `beam_pipelines.scoring.parts.Part` has the order."""
        return [self.reason, self.detail, self.record, self.place.file, self.place.block, self.place.line]


class UnusableError(ValueError):
    """A record cannot be scored.

    Args:
        reason: a short word for counting.
        detail: a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def user_fields(record: Record, events: int, features: Iterable[str]) -> dict[str, Any]:
    """The inputs for a user of a dataset.

    Args:
        record: of a split.
        events: how many of the events are the history.
        features: names of the user features.
    """
    fields: dict[str, Any] = {HISTORY: record["item_id"][:events]}
    for name, column in ((TIMESTAMPS, "timestamp"), (EVENTS, "event")):
        if column in record:
            fields[name] = record[column][:events]
    return fields | {name: record[name] for name in features}


def feature_names(features: Iterable[Any]) -> list[str]:
    """Names of the columns of a dataset's table that describe a user or an item."""
    return [feature.name for feature in features if feature.role in _FEATURE_ROLES]


def request_row(request: Any, key: str) -> tuple[str, dict[str, Any]]:
    """Key and inputs of a request as the client takes it, with the id beside it.

    Args:
        request: {"user_id", "history": [id or {"item_id", "timestamp", "event"}], "query": a text or
            several, "user": {}, "exclude", "allow_category", "items"}, and any input of the signature by its name.
        key: name of the id.

    Raises:
        UnusableError: it is no object, has no id, or a history that is none.
    """
    if not isinstance(request, Mapping):
        raise UnusableError("no_object", f"expected an object, got {type(request).__name__}")
    rest = dict(request)
    own = rest.pop("key", None)
    identity = rest.pop(key, own)
    if not isinstance(identity, str) or not identity:
        raise UnusableError(f"missing_{key}", f"{key!r} must be a text, got {identity!r:.80}")
    user = rest.pop("user", None) or {}
    if not isinstance(user, Mapping):
        raise UnusableError("wrong_type", f"'user' must be an object of features, got {user!r:.80}")
    fields = _history(rest.pop("history", None) or [])
    fields |= {_RENAMED.get(str(name), str(name)): value for name, value in (*rest.items(), *user.items())}
    if isinstance(wishes := fields.get(QUERY), list) and all(isinstance(wish, str) for wish in wishes):
        fields[QUERY] = WISH_SEPARATOR.join(filter(None, wishes))
    return identity, {name: value for name, value in fields.items() if value is not None}


def _history(events: Any) -> dict[str, Any]:
    if not isinstance(events, list):
        raise UnusableError("wrong_type", f"'history' must be a list, got {events!r:.80}")
    if all(isinstance(event, str) for event in events):
        return {HISTORY: events} if events else {}
    columns: dict[str, list[Any]] = {HISTORY: [], TIMESTAMPS: [], EVENTS: []}
    for event in events:
        parts = {"item_id": event} if isinstance(event, str) else event
        if not isinstance(parts, Mapping) or not isinstance(parts.get("item_id"), str):
            raise UnusableError("wrong_type", f"an entry of 'history' has no text 'item_id': {event!r:.80}")
        columns[HISTORY].append(parts["item_id"])
        columns[TIMESTAMPS].append(parts.get("timestamp") or 0)
        columns[EVENTS].append(parts.get("event") or "")
    return columns


def fit_to_model(
    fields: dict[str, Any], inputs: Mapping[str, TensorSpec], defaults: Mapping[str, Any], lenient: bool
) -> dict[str, Any]:
    """The fields that the signature has inputs for.

    Times and kinds of events, and an empty query or filter, are left out where a model does not have them.

    Args:
        fields: of one record.
        inputs: of the signature.
        defaults: values for inputs that a record lacks; lists are added to those of the record.
        lenient: pass over what the model has no input for.

    Raises:
        UnusableError: the record has something that the model has no input for.
    """
    unknown = [name for name in fields if name not in inputs]
    passed = {TIMESTAMPS, EVENTS} | {name for name in unknown if not fields[name]}
    for name in unknown:
        if name not in passed and not lenient:
            known = ", ".join(sorted(inputs))
            raise UnusableError("unknown_field", f"the signature has no input {name!r}; it has {known}")
    fitted = {name: value for name, value in fields.items() if name in inputs}
    for name, value in defaults.items():
        own = fitted.setdefault(name, [] if isinstance(value, list) else value)
        if isinstance(value, list) and isinstance(own, list):
            fitted[name] = [*own, *value]
    return fitted


def from_text(fields: Mapping[str, Any], inputs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """Cells of a CSV file as values: lists are JSON or words, numbers are read, empty cells are left out.

    Args:
        fields: text by column.
        inputs: of the signature.

    Raises:
        UnusableError: a number or a list cannot be read.
    """
    return {name: _cell(name, text, inputs) for name, text in fields.items() if text != ""}


def _cell(name: str, text: str, inputs: Mapping[str, TensorSpec]) -> Any:
    spec = inputs.get(HISTORY if name == "history" else _RENAMED.get(name, name))
    try:
        if name == "history" or (spec is not None and spec.rank > 1):
            return json.loads(text) if text.startswith("[") else text.split()
        if spec is None or spec.dtype == "string":
            return text
        return float(text) if "float" in spec.dtype else int(text)
    except ValueError:
        raise UnusableError("wrong_type", f"{name!r} cannot be read: {text!r:.80}") from None
