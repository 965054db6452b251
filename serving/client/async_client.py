"""The client for asyncio: the same calls, results and decisions as `RecommenderClient`, awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from serving.client import async_driver
from serving.client.base import BaseClient, Connect
from serving.client.calling import Step
from serving.client.deadline import UNSET, DeadlineLike
from serving.client.errors import RecommenderError
from serving.client.queries import Event, FeatureValue, UserQuery
from serving.client.results import (
    Description,
    Embedding,
    Explanation,
    ModelMetadata,
    ModelStatus,
    Prediction,
    Recommendations,
)
from serving.client.routing import Route
from serving.client.settings import ClientSettings
from serving.client.transport import AsyncGrpcTransport, AsyncTransport

T = TypeVar("T")
History = Sequence[str | Event]


class AsyncRecommenderClient(BaseClient[AsyncTransport]):
    """Asks a model server for recommendations from one event loop.

    Arguments, methods, results and errors are those of `RecommenderClient`, where each is described; every
    method is awaited. Make one a loop, and close it there. A cancelled task cancels its requests.

    Args:
        target: "host:port", several of them, or "dns:///name:port".
        model: name of the model on the server.
        settings: everything else; a `sleep` in it must be a coroutine function.
        connect: makes the transport of a target; the real one unless a test hands in another.
    """

    def __init__(
        self,
        target: str | Sequence[str] = "127.0.0.1:8500",
        model: str = "",
        settings: ClientSettings | None = None,
        *,
        connect: Connect[AsyncTransport] = AsyncGrpcTransport,
    ) -> None:
        super().__init__(target, model, settings, connect)

    async def recommend(
        self,
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        exclude: Sequence[str] = (),
        allow_category: Sequence[str] = (),
        key: str | None = None,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """See `RecommenderClient.recommend`."""
        one = UserQuery(history, query, user or {}, exclude, allow_category, key)
        return (await self.recommend_batch([one], k=k, deadline=deadline, route=route))[0]

    async def recommend_batch(
        self,
        queries: Sequence[UserQuery],
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """See `RecommenderClient.recommend_batch`."""
        return await self._run(self._recommend("recommend", queries, k, deadline, route))

    async def recommend_many(
        self,
        queries: Iterable[UserQuery] | AsyncIterable[UserQuery],
        *,
        k: int | None = None,
        concurrency: int = 8,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
        return_errors: bool = False,
    ) -> AsyncIterator[Recommendations | RecommenderError]:
        """See `RecommenderClient.recommend_many`; `queries` may be asynchronous, too."""

        async def ask(query: UserQuery) -> Recommendations:
            return (await self.recommend_batch([query], k=k, deadline=deadline, route=route))[0]

        waiting: deque[asyncio.Task[Recommendations]] = deque()
        try:
            async for query in _iterate(queries):
                waiting.append(asyncio.ensure_future(ask(query)))
                if len(waiting) >= concurrency:
                    yield await _result(waiting.popleft(), return_errors)
            while waiting:
                yield await _result(waiting.popleft(), return_errors)
        finally:
            for task in waiting:
                task.cancel()

    async def retrieve(
        self,
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        exclude: Sequence[str] = (),
        allow_category: Sequence[str] = (),
        key: str | None = None,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """See `RecommenderClient.retrieve`."""
        one = UserQuery(history, query, user or {}, exclude, allow_category, key)
        return (await self.retrieve_batch([one], k=k, deadline=deadline, route=route))[0]

    async def retrieve_batch(
        self,
        queries: Sequence[UserQuery],
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """See `RecommenderClient.retrieve_batch`."""
        return await self._run(self._recommend("retrieve", queries, k, deadline, route))

    async def rank(
        self,
        item_ids: Sequence[str],
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        key: str | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """See `RecommenderClient.rank`."""
        one = UserQuery(history, query, user or {}, key=key)
        return (await self.rank_batch([item_ids], [one], deadline=deadline, route=route))[0]

    async def rank_batch(
        self,
        item_ids: Sequence[Sequence[str]],
        queries: Sequence[UserQuery],
        *,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """See `RecommenderClient.rank_batch`."""
        return await self._run(self._rank(item_ids, queries, deadline, route))

    async def explain(
        self,
        item_ids: Sequence[str],
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        key: str | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Explanation]:
        """See `RecommenderClient.explain`."""
        one = UserQuery(history, query, user or {}, key=key)
        return await self._run(self._explain(item_ids, one, deadline, route))

    async def embed_query(
        self,
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        key: str | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Embedding:
        """See `RecommenderClient.embed_query`."""
        one = UserQuery(history, query, user or {}, key=key)
        return (await self.embed_query_batch([one], deadline=deadline, route=route))[0]

    async def embed_query_batch(
        self, queries: Sequence[UserQuery], *, deadline: DeadlineLike = UNSET, route: Route | None = None
    ) -> list[Embedding]:
        """See `RecommenderClient.embed_query_batch`."""
        return await self._run(self._embed_query(queries, deadline, route))

    async def embed_item(
        self,
        features: Mapping[str, FeatureValue],
        *,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Embedding:
        """See `RecommenderClient.embed_item`."""
        return (await self.embed_item_batch([features], deadline=deadline, route=route))[0]

    async def embed_item_batch(
        self,
        items: Sequence[Mapping[str, FeatureValue]],
        *,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Embedding]:
        """See `RecommenderClient.embed_item_batch`."""
        return await self._run(self._embed_item(items, deadline, route))

    async def similar_items(
        self,
        item_id: str,
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """See `RecommenderClient.similar_items`."""
        return (await self.similar_items_batch([item_id], k=k, deadline=deadline, route=route))[0]

    async def similar_items_batch(
        self,
        item_ids: Sequence[str],
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """See `RecommenderClient.similar_items_batch`."""
        return await self._run(self._similar(item_ids, k, deadline, route))

    async def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] = (),
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Prediction:
        """See `RecommenderClient.predict`."""
        until = self._deadline(deadline)
        return await self._run(
            self._core.predict_any(inputs, signature, outputs, self._unsplit(route), until)
        )

    async def status(self, *, deadline: DeadlineLike = UNSET, route: Route | None = None) -> ModelStatus:
        """See `RecommenderClient.status`."""
        return await self._run(self._core.status(self._unsplit(route), self._deadline(deadline)))

    async def metadata(self, *, deadline: DeadlineLike = UNSET, route: Route | None = None) -> ModelMetadata:
        """See `RecommenderClient.metadata`."""
        return await self._run(self._core.metadata(self._unsplit(route), self._deadline(deadline)))

    async def describe(self, *, deadline: DeadlineLike = UNSET, route: Route | None = None) -> Description:
        """See `RecommenderClient.describe`."""
        return await self._run(self._core.describe(self._unsplit(route), self._deadline(deadline)))

    async def wait_until_ready(
        self, timeout: float = 60.0, *, poll: float = 0.2, route: Route | None = None
    ) -> ModelStatus:
        """See `RecommenderClient.wait_until_ready`."""
        until = self._deadline(timeout)
        return await self._run(self._core.wait_until_ready(self._unsplit(route), until, poll))

    async def close(self) -> None:
        """Closes the connections."""
        for transport in self._take_transports():
            await transport.close()

    async def __aenter__(self) -> AsyncRecommenderClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Generator[Step, Any, T]) -> T:
        if self.settings.sleep is not None:
            return await async_driver.drive(steps, self._transport, self.settings.sleep)
        return await async_driver.drive(steps, self._transport)


async def _iterate(queries: Iterable[UserQuery] | AsyncIterable[UserQuery]) -> AsyncIterator[UserQuery]:
    if isinstance(queries, AsyncIterable):
        async for query in queries:
            yield query
    else:
        for query in queries:
            yield query


async def _result(
    task: asyncio.Task[Recommendations], return_errors: bool
) -> Recommendations | RecommenderError:
    try:
        return await task
    except RecommenderError as error:
        if return_errors:
            return error
        raise
