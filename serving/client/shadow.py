"""A second version asked beside the first, to compare them on real traffic; no caller waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from serving.client.errors import RecommenderError
from serving.client.results import Recommendations
from serving.client.routing import Route


class ShadowResult(NamedTuple):
    """What both versions said to the same queries.

    Attributes:
        primary: what the caller got, one a query.
        shadow: what the other version would have said; empty when it failed.
        error: why it failed; None when it did not.
    """

    primary: tuple[Recommendations, ...]
    shadow: tuple[Recommendations, ...] = ()
    error: RecommenderError | None = None


@dataclass(frozen=True)
class Shadow:
    """Which version to ask in the shadow, and who is told.

    The shadow gets the very tensors of the primary request, so it must take the same inputs.

    Attributes:
        route: the other version.
        on_result: is told both answers, on a thread of gRPC's (or on the event loop); must be quick.
        fraction: share of the calls that are shadowed, between 0 and 1.
        timeout: seconds the shadow may take.
        most_in_flight: shadows under way at once; beyond it calls are not shadowed, so that a slow shadow
            cannot pile up.
    """

    route: Route
    on_result: Callable[[ShadowResult], None]
    fraction: float = 1.0
    timeout: float = 1.0
    most_in_flight: int = 8
    _places: threading.BoundedSemaphore = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", threading.BoundedSemaphore(self.most_in_flight))

    def enter(self, draw: float) -> bool:
        """Tells whether to shadow a call, given a draw from [0, 1); True takes a place until `leave`."""
        return draw < self.fraction and self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Gives the place back."""
        self._places.release()
