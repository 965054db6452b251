"""How long a call may take, as an absolute time.

A timeout handed from attempt to attempt starts anew each time; an instant does not. So a call's deadline is
fixed once, on the monotonic clock, and everything inside it (metadata, attempts, pauses) asks what is left.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from serving.client.errors import InvalidRequestError

Clock = Callable[[], float]


class Unset(enum.Enum):
    """The type of "not given", which is not the same as None ("no deadline")."""

    UNSET = "the client's default"


UNSET: Final = Unset.UNSET


class Deadline(NamedTuple):
    """An instant on the monotonic clock.

    Attributes:
        at: seconds on the clock; infinity: no deadline.
        budget: seconds there were in all when it was set.
    """

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float | None, now: float | None = None) -> Deadline:
        """Returns the deadline `seconds` from now; None: none.

        Raises:
            InvalidRequestError: not a positive number.
        """
        if seconds is None:
            return cls(math.inf, math.inf)
        if not seconds > 0:
            raise InvalidRequestError(f"a deadline must be a positive number of seconds, got {seconds!r}")
        return cls((time.monotonic() if now is None else now) + seconds, seconds)

    def remaining(self, now: float) -> float:
        """Returns the seconds left, negative when it has passed."""
        return self.at - now

    def __str__(self) -> str:
        return "none" if math.isinf(self.budget) else f"{self.budget:g} s"


DeadlineLike = float | Deadline | Unset | None


def resolve(given: DeadlineLike, default: float | None, now: float) -> Deadline:
    """Returns the deadline of a call: its own, or the client's default where none was given."""
    if isinstance(given, Deadline):
        return given
    return Deadline.after(default if given is UNSET else given, now)
