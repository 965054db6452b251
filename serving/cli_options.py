"""Options that the client's commands share, and what becomes of them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from serving.client import ChannelSettings, ClientSettings, RecommenderClient, Route, Tls, UserQuery, errors

F = TypeVar("F", bound=Callable[..., Any])


class BadRequestFailure(click.ClickException):
    """What was asked cannot be sent; the same exit code as click's for a wrong command line."""

    exit_code = 2


class NoServerFailure(click.ClickException):
    """No server answered."""

    exit_code = 3


def connection_options(command: F) -> F:
    """Adds what says where the model is and how to reach it; the command gets a `client`."""

    @functools.wraps(command)
    def with_client(
        target: str,
        model: str,
        deadline: float,
        version: int | None,
        label: str,
        tls: bool,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        **options: Any,
    ) -> Any:
        with explained(target, model):
            encryption = Tls(tls_ca, tls_cert, tls_key) if tls or tls_ca or tls_cert or tls_key else None
            settings = ClientSettings(
                deadline=deadline, channel=ChannelSettings(tls=encryption), route=Route(version, label)
            )
            with RecommenderClient(target, model, settings) as client:
                return command(client=client, **options)

    for option in reversed(_CONNECTION):
        with_client = option(with_client)
    return with_client  # type: ignore[return-value]


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CONNECTION = [
    click.option(
        "--target", default="127.0.0.1:8500", show_default=True, envvar="TWOTOWER_TARGET",
        help="host:port of the server; several with commas, or dns:///name:port.",
    ),
    click.option("--model", required=True, envvar="TWOTOWER_MODEL", help="Name of the model on the server."),
    click.option("--deadline", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
                 help="Seconds a call may take, retries included."),
    click.option("--version", type=click.IntRange(0), help="Version to ask.  [default: the newest]"),
    click.option("--label", default="", help="Version label to ask, such as 'stable'."),
    click.option("--tls", is_flag=True, help="Encrypt, trusting the system's authorities."),
    click.option("--tls-ca", type=_FILE, help="PEM file of the authority behind the server's certificate."),
    click.option("--tls-cert", type=_FILE, help="PEM file of the client's certificate, for mutual TLS."),
    click.option("--tls-key", type=_FILE, help="PEM file of the client's key, for mutual TLS."),
]  # fmt: skip


def user_options(command: F) -> F:
    """Adds what describes a user; the command gets `queries`, a list of UserQuery, instead."""

    @functools.wraps(command)
    def with_queries(
        client: RecommenderClient,
        history: tuple[str, ...],
        query: str,
        user_feature: tuple[str, ...],
        exclude: tuple[str, ...],
        allow_category: tuple[str, ...],
        key: str | None,
        request: str | None,
        **options: Any,
    ) -> Any:
        if request is None:
            user = coerced(key_values(user_feature, "--user-feature"), client) if user_feature else {}
            one = UserQuery(commas(history), query, user, commas(exclude), commas(allow_category), key)
            return command(client=client, queries=[one], **options)
        if history or query or user_feature or exclude or allow_category or key:
            raise click.UsageError(
                "--request describes the whole request; leave the options for its parts out."
            )
        return command(client=client, queries=read_queries(request), **options)

    for option in reversed(_USER):
        with_queries = option(with_queries)
    return with_queries  # type: ignore[return-value]


_USER = [
    click.option("--history", multiple=True, metavar="ID,ID,...",
                 help="Items the user had to do with, oldest first."),
    click.option("--query", default="", metavar="TEXT", help="What the user wishes for, in free text."),
    click.option("--user-feature", multiple=True, metavar="NAME=VALUE",
                 help="A feature of the user; repeatable."),
    click.option("--exclude", multiple=True, metavar="ID,ID,...", help="Items that must not come back."),
    click.option("--allow-category", multiple=True, metavar="NAME,NAME,...",
                 help="Recommend only items of these categories."),
    click.option("--key", help="What an A/B split hashes; never sent."),
    click.option("--request", metavar="FILE|-",
                 help="A JSON file with the whole request, or a list of requests; - reads standard input."),
]  # fmt: skip


@contextmanager
def explained(target: str, model: str) -> Iterator[None]:
    """Turns the client's errors into one message and an exit code."""
    try:
        yield
    except errors.InvalidRequestError as error:
        raise BadRequestFailure(str(error)) from None
    except (errors.UnavailableError, errors.DeadlineExceededError) as error:
        late = isinstance(error, errors.DeadlineExceededError)
        said = "gave no answer in time" if late else "cannot be reached"
        raise NoServerFailure(
            f"The server at {target} {said}: {error.details}\n"
            "Start one with `twotower serve`, or name another with --target."
        ) from None
    except errors.NotFoundError as error:
        raise click.ClickException(
            f"The server at {target} has no model {model!r} to answer this: {error.details}\n"
            f"`twotower status --model {model}` shows the versions it has."
        ) from None
    except errors.RecommenderError as error:
        raise click.ClickException(str(error)) from None


def commas(values: Sequence[str]) -> list[str]:
    """Returns the parts of comma-separated values."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def key_values(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Returns NAME=VALUE pairs as a dict.

    Raises:
        click.BadParameter: a pair has no "=".
    """
    split = [pair.partition("=") for pair in pairs]
    for pair, (name, equals, _) in zip(pairs, split, strict=True):
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in split}


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
