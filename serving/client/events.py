"""What observers of a client are told: numbers and names, never ids, texts or vectors of users."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

LOG = logging.getLogger("serving.client")


class AttemptEvent(NamedTuple):
    """One attempt ended.

    Attributes:
        method: gRPC method name, such as "Predict".
        model: name of the model.
        signature: signature asked for; "" where there is none.
        target: address that was asked.
        code: gRPC status name, "OK" when it answered.
        seconds: how long it took.
        attempt: 1 for the first of a call.
        hedged: it was sent beside another that had not answered yet.
    """

    method: str
    model: str
    signature: str
    target: str
    code: str
    seconds: float
    attempt: int
    hedged: bool = False


class CallEvent(NamedTuple):
    """One call ended, after all its attempts.

    Attributes:
        method: gRPC method name, such as "Predict".
        model: name of the model.
        signature: signature asked for; "" where there is none.
        version: version that answered; None when none did.
        arm: arm of the A/B split; None without one.
        code: gRPC status name of the outcome, "OK" when it answered.
        seconds: how long it took in all.
        attempts: how often the request was sent.
    """

    method: str
    model: str
    signature: str
    version: int | None
    arm: str | None
    code: str
    seconds: float
    attempts: int


class Observer(Protocol):
    """Is told of attempts and calls, on the thread that made them; must be quick and must not raise."""

    def on_attempt(self, event: AttemptEvent) -> None:
        """Takes note of an attempt."""

    def on_call(self, event: CallEvent) -> None:
        """Takes note of a call."""


class LogObserver:
    """Writes what happens to the logger `serving.client`: calls at DEBUG, failed attempts at INFO."""

    def on_attempt(self, event: AttemptEvent) -> None:
        """Logs an attempt that failed."""
        if event.code != "OK" and LOG.isEnabledFor(logging.INFO):
            LOG.info(
                "%s of %s at %s: %s after %.1f ms (attempt %d)",
                event.method, event.model, event.target, event.code, event.seconds * 1e3, event.attempt,
            )  # fmt: skip

    def on_call(self, event: CallEvent) -> None:
        """Logs a call."""
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug(
                "%s of %s %s: %s in %.1f ms, version %s, %d attempts",
                event.method, event.model, event.signature, event.code, event.seconds * 1e3, event.version,
                event.attempts,
            )  # fmt: skip
