"""A loaded version with a count of the calls that use it, so that it is freed only after the last one."""

from __future__ import annotations

import threading
from typing import Protocol


class Closable(Protocol):
    """What a servable holds: anything that frees its memory on request."""

    def close(self) -> None:
        """Frees everything; called once, when nobody uses it any more."""


class Servable:
    """One version of a model that can be asked.

    Attributes:
        name: the model's name.
        version: its number.
        content: what the loader made.
    """

    def __init__(self, name: str, version: int, content: Closable):
        self.name = name
        self.version = version
        self.content = content
        self._users = 0
        self._closed = False
        self._idle = threading.Condition()

    @property
    def users(self) -> int:
        """Calls that use the version now."""
        return self._users

    def acquire(self) -> bool:
        """Counts one more call; False when the version was freed already and must not be used."""
        with self._idle:
            if self._closed:
                return False
            self._users += 1
        return True

    def release(self) -> None:
        """Counts one call less."""
        with self._idle:
            self._users -= 1
            if not self._users:
                self._idle.notify_all()

    def retire(self) -> None:
        """Waits until no call uses the version, then frees it. The caller has made it unreachable before."""
        with self._idle:
            while self._users:
                self._idle.wait()
            self._closed = True
        self.content.close()
