"""When to try again: pure decisions, no waiting.

Backoff with full jitter follows Brooker 2015, "Exponential Backoff and Jitter"; the budget is the token
bucket of gRPC's retry design (proposal A6): what a client retries is bounded by a share of what it sends, so
that retries cannot keep an overloaded server down.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Any

import grpc

from serving.client.errors import InvalidRequestError, RpcError


@dataclass(frozen=True)
class RetryPolicy:
    """How a failed attempt is tried again, inside the deadline of its call.

    Attributes:
        attempts: how often a request is sent at most; 1: no retries.
        initial_backoff: seconds; the pause before retry n is drawn uniformly between 0 and
            min(max_backoff, initial_backoff * multiplier ** (n - 1)).
        max_backoff: seconds.
        multiplier: growth of the cap.
        attempt_timeout: seconds one attempt may take before it counts as failed; None: what is left of the
            deadline. Set it where a server may hang rather than refuse: only then is there time for another.
        codes: status codes after which another attempt is safe and sensible: UNAVAILABLE, and CANCELLED, which
            a server that is being stopped sends to calls it had just taken (what the caller cancels himself is
            never tried again). An expired `attempt_timeout` and a RESOURCE_EXHAUSTED without details (TensorFlow
            Serving's way to say that all its threads are busy) are retried as well.
        budget_ratio: tokens a call adds to the budget; a retry takes 1. 0.2: one retry for five calls.
        budget: tokens at the start and at most.
    """

    attempts: int = 3
    initial_backoff: float = 0.02
    max_backoff: float = 1.0
    multiplier: float = 2.0
    attempt_timeout: float | None = None
    codes: frozenset[Any] = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
    budget_ratio: float = 0.2
    budget: float = 20.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.initial_backoff < 0 or self.max_backoff < 0 or self.multiplier < 1:
            raise InvalidRequestError(
                f"a retry policy needs attempts >= 1, backoffs >= 0 and multiplier >= 1, got {self}"
            )
        if self.attempt_timeout is not None and not self.attempt_timeout > 0:
            raise InvalidRequestError(f"attempt_timeout must be positive seconds, got {self.attempt_timeout}")

    def retryable(self, error: RpcError) -> bool:
        """Tells whether another attempt is safe after this error, time and budget aside."""
        if error.code in self.codes:
            return True
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.attempt_timeout is not None
        return error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.details

    def pause(self, retry: int, rng: random.Random) -> float:
        """Returns the seconds to wait before the retry of this number (1 for the first)."""
        cap = min(self.max_backoff, self.initial_backoff * self.multiplier ** (retry - 1))
        return rng.uniform(0.0, cap)


NO_RETRIES = RetryPolicy(attempts=1)


class RetryBudget:
    """Token bucket shared by all calls of a client."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._ratio = policy.budget_ratio
        self._cap = policy.budget
        self._tokens = policy.budget
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Adds a call's share."""
        if self._tokens < self._cap:
            with self._lock:
                self._tokens = min(self._cap, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Takes what an extra attempt costs; False: there is not enough, so do not try."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True
