"""Clients in forked processes (gunicorn with preload, multiprocessing).

gRPC's channels do not survive a fork: their threads stay in the parent. So a client's connections belong to
the process that opened them, and a child starts without any; it opens its own with its first call.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class _Forkable(Protocol):
    def _after_fork(self) -> Any:
        """Drops the parent's connections in the child and returns them."""


_clients: weakref.WeakSet[_Forkable] = weakref.WeakSet()
# Never closed in the child: closing would wait for threads that only the parent has.
_inherited: list[Any] = []


def register(client: _Forkable) -> None:
    """Makes a client start afresh in forked children."""
    _clients.add(client)


def _in_child() -> None:
    for client in list(_clients):
        _inherited.append(client._after_fork())


os.register_at_fork(after_in_child=_in_child)
