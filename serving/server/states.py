"""The life of each version: START, LOADING, AVAILABLE, UNLOADING, END, and who waits for it.

As in TensorFlow Serving the record never forgets: a version that was unloaded keeps reporting END.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from serving.server.errors import ServingError


class State(enum.IntEnum):
    """States of a version, with the numbers of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionState:
    """Where one version is, and what went wrong with it (None: nothing)."""

    state: State
    error: ServingError | None = None


class StateMonitor:
    """Records state changes and lets threads wait for them."""

    def __init__(self) -> None:
        self._states: dict[str, dict[int, VersionState]] = {}
        self._changed = threading.Condition()

    def record(self, name: str, version: int, state: State, error: ServingError | None = None) -> None:
        """Notes that a version is now in this state."""
        with self._changed:
            self._states.setdefault(name, {})[version] = VersionState(state, error)
            self._changed.notify_all()

    def versions(self, name: str) -> list[tuple[int, VersionState]]:
        """All versions ever seen of a model, highest first."""
        with self._changed:
            return sorted(self._states.get(name, {}).items(), reverse=True)

    def wait(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Blocks until `condition()`, which is asked after each change; False when the time is over first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return False
                self._changed.wait(remaining)
        return True

    def settled(self, names: Iterable[str]) -> bool:
        """Whether each of these models has a version that is AVAILABLE or at its END."""
        return all(
            any(s.state in (State.AVAILABLE, State.END) for _, s in self.versions(name)) for name in names
        )

    def is_available(self, name: str, version: int | None = None) -> bool:
        """Whether the model has a version, or this version, that can be asked now."""
        return any(
            status.state is State.AVAILABLE and version in (None, number)
            for number, status in self.versions(name)
        )
