"""Everything a client is made with, sync or asyncio."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.client.breaker import BreakerPolicy
from serving.client.calling import HedgePolicy
from serving.client.channel import ChannelSettings
from serving.client.deadline import Clock
from serving.client.events import LogObserver, Observer
from serving.client.queries import UserQuery
from serving.client.retry import RetryPolicy
from serving.client.routing import LATEST, Route, Split
from serving.client.shadow import Shadow

# What to show when no server answers: ids, or a function of the query that returns ids, best first.
Fallback = Sequence[str] | Callable[[UserQuery], Sequence[str]]


@dataclass(frozen=True)
class ClientSettings:
    """Settings of a client; each has a default that suits a service inside one network.

    Attributes:
        deadline: seconds a call may take, retries included, unless the call says otherwise; None: for ever.
        channel: how to speak to the targets.
        retry: how failures are tried again.
        hedge: when to send a second request beside a slow first; None: never.
        breaker: when to stop asking; None: never.
        fallback: what `recommend` and `retrieve` return when no server answers in time, such as the popular
            items; None: the error is raised.
        route: which version to ask, or a split between versions.
        shadow: a second version to ask beside the first, whose answer nobody waits for; None: none.
        observers: are told of every attempt and call.
        max_batch: most rows sent in one request; longer batches are sent in turn.
        clock: monotonic seconds.
        sleep: waits for so many seconds (a coroutine function for the asyncio client); None: the real thing.
        rng: draws the pauses between retries.
    """

    deadline: float | None = 1.0
    channel: ChannelSettings = field(default_factory=ChannelSettings)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    hedge: HedgePolicy | None = None
    breaker: BreakerPolicy | None = None
    fallback: Fallback | None = None
    route: Route | Split = LATEST
    shadow: Shadow | None = None
    observers: Sequence[Observer] = (LogObserver(),)
    max_batch: int = 64
    clock: Clock = time.monotonic
    sleep: Callable[[float], Any] | None = None
    rng: random.Random = field(default_factory=random.Random)
