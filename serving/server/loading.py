"""Loading one version with retries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from serving.server.errors import ServingError, from_exception

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

# Waiting does not cure these: the files say something that this server cannot serve.
_PERMANENT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
    }
)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failed load is tried again.

    Attributes:
        max_retries: tries after the first failure.
        interval_s: wait between two tries, in seconds; not above 0 means none.
    """

    max_retries: int = 5
    interval_s: float = 60.0


def load_with_retries(what: str, load: Callable[[], _T], policy: RetryPolicy, stop: threading.Event) -> _T:
    """Calls `load` until it succeeds, the tries are used up, or `stop` is set.

    An error that waiting cannot cure (a broken or unsupported model) is raised at once; TensorFlow Serving
    would try those again too, five minutes long by default.

    Raises:
        ServingError: the last failure.
    """
    for attempt in range(max(policy.max_retries, 0) + 1):
        try:
            return load()
        except Exception as failure:
            error = from_exception(failure)
            last = attempt >= policy.max_retries or error.code in _PERMANENT or stop.is_set()
            if last:
                raise error from failure
            _LOG.warning(
                "Loading %s failed (%s); try %d of %d follows in %g s.",
                what,
                error,
                attempt + 2,
                policy.max_retries + 1,
                max(policy.interval_s, 0),
            )
            if policy.interval_s > 0:
                stop.wait(policy.interval_s)
    raise ServingError(grpc.StatusCode.CANCELLED, f"Loading {what} was cancelled")
