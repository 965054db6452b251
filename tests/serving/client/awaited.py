"""An asyncio client that looks like the other one, so that one suite asks both."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from serving.client import AsyncRecommenderClient


class Awaited:
    """Runs each method of an AsyncRecommenderClient on a loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncRecommenderClient(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *arguments, **options: self._loop.run_until_complete(found(*arguments, **options))

    def recommend_many(self, *arguments: Any, **options: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [result async for result in self._client.recommend_many(*arguments, **options)]

        return self._loop.run_until_complete(collect())

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()
