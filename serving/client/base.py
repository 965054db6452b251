"""What the sync and the asyncio client share: settings, state, and calls as generators of steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from serving.client import forking
from serving.client.calling import Caller, Step
from serving.client.channel import ChannelSettings, parse_targets
from serving.client.core import Core
from serving.client.deadline import Deadline, DeadlineLike, resolve
from serving.client.errors import ClientClosedError, InvalidRequestError
from serving.client.queries import UserQuery
from serving.client.routing import LATEST, Route, choose
from serving.client.settings import ClientSettings

R = TypeVar("R")
TransportT = TypeVar("TransportT")
Connect = Callable[[str, ChannelSettings], TransportT]
# One part of a batch: queries of one arm, at most `max_batch` of them.
Ask = Callable[[list[int], Route, str | None], Generator[Step, Any, list[R]]]


class BaseClient(Generic[TransportT]):
    """State and plans of a client; subclasses perform the plans."""

    def __init__(
        self,
        target: str | Sequence[str],
        model: str,
        settings: ClientSettings | None,
        connect: Connect[TransportT],
    ) -> None:
        if not model:
            raise InvalidRequestError("a client needs the name of a model, got an empty string")
        self.model = model
        self.targets = parse_targets(target)
        self.settings = settings or ClientSettings()
        self._connect = connect
        self._closed = False
        self._reset()
        forking.register(self)

    def _reset(self) -> None:
        settings = self.settings
        self._lock = threading.Lock()
        self._transports: dict[int, TransportT] = {}
        caller = Caller(
            self.targets,
            settings.retry,
            settings.hedge,
            settings.breaker,
            settings.observers,
            settings.clock,
            settings.rng,
        )
        self._core = Core(self.model, settings, caller)

    def _after_fork(self) -> dict[int, TransportT]:
        inherited = self._transports
        self._reset()
        return inherited

    def _transport(self, number: int) -> TransportT:
        found = self._transports.get(number)
        if found is not None:
            return found
        with self._lock:
            if self._closed:
                raise ClientClosedError("the client was closed; make a new one")
            if number not in self._transports:
                self._transports[number] = self._connect(self.targets[number], self.settings.channel)
            return self._transports[number]

    def _take_transports(self) -> list[TransportT]:
        with self._lock:
            self._closed = True
            taken = list(self._transports.values())
            self._transports = {}
        return taken

    def _deadline(self, given: DeadlineLike) -> Deadline:
        return resolve(given, self.settings.deadline, self.settings.clock())

    def _unsplit(self, route: Route | None) -> Route:
        if route is not None:
            return route
        return self.settings.route if isinstance(self.settings.route, Route) else LATEST

    def _groups(
        self, keys: Sequence[str | None], route: Route | None
    ) -> dict[tuple[str | None, Route], list[int]]:
        groups: dict[tuple[str | None, Route], list[int]] = {}
        for at, key in enumerate(keys):
            arm = choose(self.settings.route if route is None else route, key)
            groups.setdefault(arm, []).append(at)
        return groups

    def _in_parts(
        self, keys: Sequence[str | None], route: Route | None, ask: Ask[R]
    ) -> Generator[Step, Any, list[R]]:
        """Asks for a batch part by part, each of one arm and of at most `max_batch` rows; keeps the order."""
        results: dict[int, R] = {}
        most = self.settings.max_batch
        for (arm, chosen), members in self._groups(keys, route).items():
            for start in range(0, len(members), most):
                part = members[start : start + most]
                answers = yield from ask(part, chosen, arm)
                results.update(zip(part, answers, strict=True))
        return [results[at] for at in range(len(keys))]

    def _recommend(
        self,
        signature: str,
        queries: Sequence[UserQuery],
        k: int | None,
        deadline: DeadlineLike,
        route: Route | None,
    ) -> Generator[Step, Any, Any]:
        until = self._deadline(deadline)
        return self._in_parts(
            [query.key for query in queries],
            route,
            lambda part, to, arm: self._core.recommend(
                signature, [queries[i] for i in part], k, to, arm, until
            ),
        )

    def _rank(
        self,
        item_ids: Sequence[Sequence[str]],
        queries: Sequence[UserQuery],
        deadline: DeadlineLike,
        route: Route | None,
    ) -> Generator[Step, Any, Any]:
        until = self._deadline(deadline)
        _check_items(item_ids, len(queries))
        return self._in_parts(
            [query.key for query in queries],
            route,
            lambda part, to, arm: self._core.rank(
                [item_ids[i] for i in part], [queries[i] for i in part], to, arm, until
            ),
        )

    def _explain(
        self, item_ids: Sequence[str], query: UserQuery, deadline: DeadlineLike, route: Route | None
    ) -> Generator[Step, Any, Any]:
        _check_items([item_ids], 1)
        arm, chosen = choose(self.settings.route if route is None else route, query.key)
        return self._core.explain(item_ids, query, chosen, arm, self._deadline(deadline))

    def _embed_query(
        self, queries: Sequence[UserQuery], deadline: DeadlineLike, route: Route | None
    ) -> Generator[Step, Any, Any]:
        until = self._deadline(deadline)
        return self._in_parts(
            [query.key for query in queries],
            route,
            lambda part, to, arm: self._core.embed_query([queries[i] for i in part], to, arm, until),
        )

    def _embed_item(
        self, items: Sequence[Mapping[str, Any]], deadline: DeadlineLike, route: Route | None
    ) -> Generator[Step, Any, Any]:
        until = self._deadline(deadline)
        return self._in_parts(
            [None] * len(items),
            self._unsplit(route),
            lambda part, to, _: self._core.embed_item([items[i] for i in part], to, until),
        )

    def _similar(
        self, item_ids: Sequence[str], k: int | None, deadline: DeadlineLike, route: Route | None
    ) -> Generator[Step, Any, Any]:
        until = self._deadline(deadline)
        _check_items([item_ids], 1)
        return self._in_parts(
            [None] * len(item_ids),
            self._unsplit(route),
            lambda part, to, _: self._core.similar_items([item_ids[i] for i in part], k, to, until),
        )


def _check_items(item_ids: Sequence[Sequence[str]], queries: int) -> None:
    if len(item_ids) != queries:
        raise InvalidRequestError(
            f"{len(item_ids)} lists of items came with {queries} queries, expected one each"
        )
    for ids in item_ids:
        if isinstance(ids, str | bytes) or not all(isinstance(item_id, str) for item_id in ids):
            raise InvalidRequestError(f"item ids must be a list of strings, got {ids!r}")
        if not ids:
            raise InvalidRequestError("no item was given, expected at least one id")
