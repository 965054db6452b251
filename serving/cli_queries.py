"""Options that describe a user and what to recommend, and what becomes of them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from serving.cli_options import BadRequestFailure, key_values
from serving.client import RecommenderClient, UserQuery, errors

F = TypeVar("F", bound=Callable[..., Any])


def user_options(command: F) -> F:
    """Adds what describes a user; the command gets `queries`, a list of UserQuery, instead."""
    return _with_queries(command, _USER)


def recommend_options(command: F) -> F:
    """As `user_options`, with the rules for what may be recommended."""
    return _with_queries(command, _USER + _RULES)


def _with_queries(command: F, options: Sequence[Callable[[Any], Any]]) -> F:
    @functools.wraps(command)
    def with_queries(client: RecommenderClient, request: str | None, **given: Any) -> Any:
        parts = {name: given.pop(name) for name in _PARTS if name in given}
        return command(client=client, queries=_queries(client, request, parts), **given)

    for option in reversed(options):
        with_queries = option(with_queries)
    return with_queries  # type: ignore[return-value]


def _queries(client: RecommenderClient, request: str | None, parts: dict[str, Any]) -> list[UserQuery]:
    given = {
        name: value for name, value in parts.items() if value not in ((), "", None) and value is not False
    }
    if request is not None:
        if given:
            raise click.UsageError(
                "--request describes the whole request; leave the options for its parts out."
            )
        return read_queries(request)
    if "user_feature" in given:
        given["user"] = coerced(key_values(given.pop("user_feature"), "--user-feature"), client)
    lists = {
        name: commas(value)
        for name, value in given.items()
        if isinstance(value, tuple) and name != "query"  # wishes may have commas
    }
    return [UserQuery(**{**given, **lists})]


_USER = [
    click.option("--history", multiple=True, metavar="ID,ID,...",
                 help="Items the user had to do with, oldest first."),
    click.option("--query", multiple=True, metavar="TEXT",
                 help="What the user wishes for, in free text; repeatable, each a wish of its own."),
    click.option("--user-feature", multiple=True, metavar="NAME=VALUE",
                 help="A feature of the user; repeatable."),
    click.option("--key", help="What an A/B split hashes (see --arm); never sent."),
    click.option("--request", metavar="FILE|-",
                 help="A JSON file with the whole request, or a list of requests; - reads standard input."),
]  # fmt: skip
_RULES = [
    click.option("--exclude", multiple=True, metavar="ID,ID,...", help="Items that must not come back."),
    click.option("--allow", multiple=True, metavar="ID,ID,...", help="Recommend only these items."),
    click.option("--allow-category", multiple=True, metavar="NAME,NAME,...",
                 help="Recommend only items of these categories."),
    click.option("--block-category", multiple=True, metavar="NAME,NAME,...",
                 help="Recommend no item of these categories."),
    click.option("--max-per-category", type=click.IntRange(1), help="Items of one category at most."),
    click.option("--min-score", type=float, help="Leave out items that score less."),
    click.option("--one-per-variant", is_flag=True, help="Of an item's variants show only the best."),
    click.option("--diversity", type=click.FloatRange(0, 1),
                 help="How much unlikeness to the items above counts against the score."),
    click.option("--exploration", type=click.FloatRange(0), help="Temperature at which places are drawn by chance."),
    click.option("--seed", type=int, help="Start of the draw."),
]  # fmt: skip
_PARTS = (
    "history", "query", "user_feature", "key", "exclude", "allow", "allow_category", "block_category",
    "max_per_category", "min_score", "one_per_variant", "diversity", "exploration", "seed",
)  # fmt: skip


def commas(values: Sequence[str]) -> list[str]:
    """Returns the parts of comma-separated values."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def coerced(
    features: dict[str, str], client: RecommenderClient, signature: str = "recommend"
) -> dict[str, Any]:
    """Returns features as the model's types; with commas where it takes a list."""
    found = client.metadata().signatures.get(signature)
    specs = found.inputs if found else {}
    return {name: _coerce(name, value, specs.get(name)) for name, value in features.items()}


def _coerce(name: str, value: str, spec: Any) -> Any:
    if spec is None:
        return value
    is_list = spec.shape is not None and len(spec.shape) > 1
    parts: list[Any] = [part.strip() for part in value.split(",") if part.strip()] if is_list else [value]
    if spec.dtype != "string":
        kind = float if "float" in spec.dtype else int
        try:
            parts = [kind(part) for part in parts]
        except ValueError:
            raise errors.InvalidRequestError(f"`{spec}` takes numbers, got {name}={value}") from None
    return parts if is_list else parts[0]


def read_queries(source: str) -> list[UserQuery]:
    """Returns the requests of a JSON file, or of standard input for "-".

    Raises:
        click.ClickException: it cannot be read, is no JSON, or not of the form of a request.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestFailure(f"Cannot read --request {source}: {error}") from None
    except ValueError as error:
        raise BadRequestFailure(f"--request {source} is no JSON: {error}") from None
    values = value if isinstance(value, list) else [value]
    if not values:
        raise BadRequestFailure(f"--request {source} is an empty list, expected at least one request")
    return [UserQuery.from_json(one) for one in values]
