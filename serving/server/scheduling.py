"""Where calls run: a pool of threads, one call each."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from serving.server.call import Array, Call
from serving.server.model import LoadedModel
from serving.server.servable import Servable


class Scheduler(Protocol):
    """Runs calls for the event loop."""

    async def run(self, servable: Servable, model: LoadedModel, call: Call) -> list[Array]:
        """Runs one call and returns one array a fetch.

        The version stays in memory until the run ends, also when the caller has gone meanwhile.

        Raises:
            ServingError: with TensorFlow's code and text.
        """
        ...

    def close(self) -> None:
        """Waits for what is running."""
        ...


class ThreadScheduler:
    """Each call runs by itself on a thread; up to `threads` at the same time."""

    def __init__(self, threads: int):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model-run")

    async def run(self, servable: Servable, model: LoadedModel, call: Call) -> list[Array]:
        """See `Scheduler.run`."""
        loop = asyncio.get_running_loop()
        servable.acquire()

        def work() -> list[Array]:
            try:
                return model.run(call.feeds, call.arrays, call.fetches)
            finally:
                servable.release()

        return await asyncio.shield(loop.run_in_executor(self._pool, work))

    def close(self) -> None:
        """See `Scheduler.close`."""
        self._pool.shutdown(wait=True)
