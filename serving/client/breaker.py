"""A circuit breaker: a pure state machine over the outcomes of calls and a clock that is handed in.

closed: calls pass, failures in a row are counted.
open: calls are refused at once, for `pause` seconds.
half open: one call is let through; it closes the circuit or opens it again.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from serving.client.errors import InvalidRequestError


@dataclass(frozen=True)
class BreakerPolicy:
    """When to stop asking a server that keeps failing.

    Attributes:
        failures: calls in a row that must fail to open the circuit. Only failures of the server count
            (unavailable, deadline, exhausted, internal, unknown), never refusals of a bad request.
        pause: seconds it stays open.
    """

    failures: int = 20
    pause: float = 1.0

    def __post_init__(self) -> None:
        if self.failures < 1 or not self.pause > 0:
            raise InvalidRequestError(f"a breaker needs failures >= 1 and pause > 0, got {self}")


class CircuitBreaker:
    """Counts outcomes and says whether a call may be made."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._failures = 0
        # When it opened; infinity: it is closed.
        self._opened_at = math.inf
        self._probing = False
        self._lock = threading.Lock()

    def allow(self, now: float) -> bool:
        """Tells whether a call may be made now; True while half open only for one caller."""
        if self._opened_at == math.inf:
            return True
        with self._lock:
            if self._opened_at == math.inf:
                return True
            if self._probing or now < self._opened_at + self._policy.pause:
                return False
            self._probing = True
            return True

    def record(self, failed: bool, now: float) -> None:
        """Takes note of how a call that was allowed ended."""
        if not failed and self._failures == 0:
            return
        with self._lock:
            was_open, self._probing = self._opened_at < math.inf, False
            self._failures = self._failures + 1 if failed else 0
            opens = failed and (was_open or self._failures >= self._policy.failures)
            self._opened_at = now if opens else math.inf

    def abandon(self) -> None:
        """Takes note that a call that was allowed ended without an outcome (it was interrupted)."""
        self._probing = False

    @property
    def state(self) -> str:
        """One of "closed", "open" and "half open"."""
        if self._opened_at == math.inf:
            return "closed"
        return "half open" if self._probing else "open"
