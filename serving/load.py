"""Drives a server at a rate and notes how long each request took: what `twotower bench` runs.

The load is open: requests are due at fixed times, whether or not earlier ones have been answered, and a
latency counts from the time a request was due. A server that stalls is thus charged for every request that
had to wait for it (Tene 2013, "How NOT to Measure Latency": coordinated omission).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.client.errors import RecommenderError, RpcError

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class LoadResult:
    """What a run measured.

    Attributes:
        seconds: how long it took in all.
        due: requests that were due.
        latencies: seconds of each request that was answered, from the time it was due.
        codes: requests by outcome: "OK", a gRPC status name, or the name of another error.
        late: requests that were sent more than 10 ms after they were due, because `concurrency` was reached
            or this process did not keep up.
    """

    seconds: float
    due: int
    latencies: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    late: int = 0

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds if self.seconds > 0 else 0.0


async def run_load(
    ask: Callable[[int], Awaitable[Any]], rate: float, duration: float, concurrency: int
) -> LoadResult:
    """Sends requests at a rate.

    Args:
        ask: sends request number n.
        rate: requests a second.
        duration: seconds.
        concurrency: requests under way at most; one that is due beyond that waits, and its wait counts.
    """
    due = max(1, round(rate * duration))
    latencies: list[float] = []
    codes: Counter[str] = Counter()
    late = 0
    places = asyncio.Semaphore(concurrency)
    began = time.perf_counter()

    async def one(number: int) -> None:
        nonlocal late
        due_at = began + number / rate
        async with places:
            late += time.perf_counter() - due_at > 0.01
            try:
                await ask(number)
                latencies.append(time.perf_counter() - due_at)
                codes["OK"] += 1
            except RecommenderError as error:
                codes[error.code.name if isinstance(error, RpcError) else type(error).__name__] += 1

    tasks = []
    for number in range(due):
        pause = began + number / rate - time.perf_counter()
        # Also when it is behind: answers must be read in between.
        await asyncio.sleep(max(0.0, pause))
        tasks.append(asyncio.ensure_future(one(number)))
    await asyncio.gather(*tasks)
    return LoadResult(time.perf_counter() - began, due, latencies, codes, late)


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that `percent` of the values do not exceed (nearest rank); NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def histogram(seconds: Sequence[float]) -> list[tuple[float, float, int]]:
    """Returns (from, to, count) in milliseconds, in steps of 1, 2, 5, 10, 20, ...; empty ends left out."""
    if not seconds:
        return []
    bounds = [0.0] + [step * 10.0**power for power in range(-2, 6) for step in (1, 2, 5)]
    counts = [0] * len(bounds)
    for value in seconds:
        at = sum(1 for bound in bounds[1:] if bound <= value * 1e3)
        counts[at] += 1
    used = [at for at, count in enumerate(counts) if count]
    span = range(used[0], used[-1] + 1)
    return [(bounds[at], bounds[at + 1] if at + 1 < len(bounds) else math.inf, counts[at]) for at in span]
