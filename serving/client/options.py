"""The keyword arguments that calls share, so that both clients declare them once.

A method that is written `**options: Unpack[CallOptions]` takes these keys as keyword arguments: editors offer them
and type checkers check them (PEP 692).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, cast

from serving.client.channel import Metadata
from serving.client.deadline import Deadline, DeadlineLike
from serving.client.queries import Event, FeatureValue, UserQuery
from serving.client.routing import Route

History = Sequence[str | Event]


class CallOptions(TypedDict, total=False):
    """What every call takes.

    Attributes:
        deadline: seconds the call may take, retries included; a `Deadline`; None for no limit. The client's default
            when not given.
        route: which model and version to ask; the client's when not given.
        metadata: headers of this call, sent with each of its attempts beside the client's own.
        credentials: a `grpc.CallCredentials` for this call alone; only where the client has `tls`.
    """

    deadline: DeadlineLike
    route: Route | None
    metadata: Metadata
    credentials: Any


class UserOptions(CallOptions, total=False):
    """What calls about one user take: the fields of `UserQuery` that are described there."""

    query: str | Sequence[str]
    user: Mapping[str, FeatureValue] | None
    key: str | None


class RecommendOptions(UserOptions, total=False):
    """What calls that recommend to one user take: all fields of `UserQuery`."""

    exclude: Sequence[str]
    allow: Sequence[str]
    allow_category: Sequence[str]
    block_category: Sequence[str]
    max_per_category: int
    min_score: float | None
    one_per_variant: bool
    diversity: float | None
    exploration: float | None
    seed: int


class Call(NamedTuple):
    """The options of one call, settled.

    Attributes:
        deadline: the instant it ends.
        route: which model and version is asked.
        arm: arm of the A/B split; None without one.
        metadata: headers of this call.
        credentials: gRPC call credentials of this call.
    """

    deadline: Deadline
    route: Route
    arm: str | None = None
    metadata: Metadata = ()
    credentials: Any = None


def split(history: History, options: Mapping[str, Any], kind: Any) -> tuple[UserQuery, CallOptions]:
    """Returns the query and the call options that keyword arguments describe.

    Args:
        history: the user's history.
        options: the keyword arguments.
        kind: the TypedDict that declares them.

    Raises:
        TypeError: an argument that is not declared.
        InvalidRequestError: a value that no model takes.
    """
    check_known(options, kind)
    own = {name: value for name, value in options.items() if name not in CallOptions.__optional_keys__}
    call = {name: value for name, value in options.items() if name in CallOptions.__optional_keys__}
    if own.get("user", ()) is None:
        del own["user"]
    return UserQuery(history, **own), cast(CallOptions, call)


def check_known(options: Mapping[str, Any], kind: Any) -> None:
    """Compares keyword arguments with those a call declares, as Python does for arguments written out.

    Raises:
        TypeError: one is not among them.
    """
    unknown = options.keys() - kind.__optional_keys__
    if unknown:
        raise TypeError(
            f"unexpected keyword argument {min(unknown)!r}; this call takes {', '.join(sorted(kind.__optional_keys__))}"
        )
