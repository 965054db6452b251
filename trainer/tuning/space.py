"""Which fields a search may set, and a training configuration with drawn values in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from trainer.errors import ConfigError
from trainer.train_config import TrainConfig
from trainer.tuning.settings import Choices, Range

Space = Mapping[str, Range | Choices]
Values = dict[str, Any]

_NOT_CHOSEN = ("seed",)
"""A seed is no setting: the best of many seeds is luck."""


def searchable_fields(model: type[BaseModel] = TrainConfig, prefix: str = "") -> Iterator[str]:
    """Every field of [train] that holds a value, as a dotted name."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from searchable_fields(kind, f"{prefix}{name}.")
        elif f"{prefix}{name}" not in _NOT_CHOSEN:
            yield f"{prefix}{name}"


def check_space(space: Space) -> None:
    """Refuses fields that do not exist and values that a field does not allow.

    Raises:
        ConfigError: names the field, the value and what the field allows.
    """
    known = list(searchable_fields())
    if not space:
        raise ConfigError(
            "[tune.space] is empty: name fields of [train] with a range or a list of choices, for example "
            "learning_rate = {low = 0.0003, high = 0.01, log = true}."
        )
    for field, domain in space.items():
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ". Fields are listed in docs/training.md."
            raise ConfigError(f"tune.space.{field}: [train] has no such field to choose{hint}")
        ends = domain if isinstance(domain, tuple) else (domain.low, domain.high)
        for value in ends:
            _check_value(field, value)


def with_values(train: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The configuration with some fields replaced.

    Args:
        train: The others are taken from it.
        values: By dotted name.

    Raises:
        ConfigError: the values do not go together.
    """
    document = train.model_dump()
    for field, value in values.items():
        *tables, name = field.split(".")
        table = document
        for key in tables:
            table = table[key]
        table[name] = value
    try:
        return TrainConfig.model_validate(document)
    except ValidationError as error:
        reasons = (problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise ConfigError("; ".join(reasons)) from None


def values_of(train: TrainConfig, space: Space) -> Values | None:
    """The configuration's own values of the searched fields, None where one lies outside of the space."""
    values: Values = {}
    for field, domain in space.items():
        value: Any = train
        for key in field.split("."):
            value = getattr(value, key)
        if not (domain.holds(value) if isinstance(domain, Range) else value in domain):
            return None
        values[field] = value
    return values


def _check_value(field: str, value: object) -> None:
    """Fields that bound one another are judged when a trial begins; here each is looked at alone."""
    document: dict[str, Any] = {}
    table = document
    *tables, name = field.split(".")
    for key in tables:
        table = table.setdefault(key, {})
    table[name] = value
    try:
        TrainConfig.model_validate(document)
    except ValidationError as error:
        for problem in error.errors():
            if ".".join(str(part) for part in problem["loc"]).startswith(field):
                raise ConfigError(f"tune.space.{field}: {problem['msg']} (came: {value!r})") from None
