"""Which of several targets to ask: round robin over those that answered lately.

A target that failed is put aside for a moment, longer each time it fails again. When all are aside, the one
whose time is up first is asked: a client never refuses a call because of what it remembers.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


class Balancer:
    """Round robin over `size` targets, numbered from 0, with the failed ones put aside."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._until = [0.0] * size
        self._failures = [0] * size
        self._lock = threading.Lock()

    def pick(self, now: float, avoid: Collection[int] = ()) -> int:
        """Returns the target to ask next.

        Args:
            now: seconds on the clock.
            avoid: targets this call has asked already; taken only when nothing else is left.
        """
        if self._size == 1:
            return 0
        with self._lock:
            order = [(self._next + step) % self._size for step in range(self._size)]
            healthy = [target for target in order if self._until[target] <= now]
            fresh = [target for target in healthy if target not in avoid]
            untried = [target for target in order if target not in avoid]
            chosen = next(iter(fresh or healthy), None)
            if chosen is None:
                chosen = min(untried or order, key=lambda target: self._until[target])
            self._next = (chosen + 1) % self._size
            return chosen

    def report(self, target: int, failed: bool, now: float) -> None:
        """Takes note of how an attempt at a target ended."""
        if self._size == 1 or (not failed and self._failures[target] == 0):
            return
        with self._lock:
            if not failed:
                self._failures[target], self._until[target] = 0, 0.0
                return
            if self._until[target] > now:
                return  # calls that were under way when it was put aside say nothing new
            self._failures[target] += 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failures[target] - 1))
            self._until[target] = now + pause
