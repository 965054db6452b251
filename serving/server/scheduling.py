"""Where calls run: a pool of threads, one call each."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from serving.server.call import Array, Call
from serving.server.errors import ServingError
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


def run_call(model: LoadedModel, call: Call) -> list[Array] | ServingError:
    """Runs one call; an error is returned, not raised."""
    try:
        return model.run(call.feeds, call.arrays, call.fetches)
    except ServingError as error:
        return error


def settle(future: asyncio.Future[list[Array]], result: list[Array] | ServingError) -> None:
    """Hands a result to whoever waits for it, unless the caller has gone."""
    if future.cancelled():
        return
    if isinstance(result, ServingError):
        future.set_exception(result)
    else:
        future.set_result(result)


class ThreadScheduler:
    """Each call runs by itself on a thread; up to `threads` at the same time."""

    def __init__(self, threads: int):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model-run")

    async def run(self, servable: Servable, model: LoadedModel, call: Call) -> list[Array]:
        """See `Scheduler.run`."""
        loop = asyncio.get_running_loop()
        servable.acquire()

        future: asyncio.Future[list[Array]] = loop.create_future()

        def work() -> None:
            result = run_call(model, call)
            servable.release()
            loop.call_soon_threadsafe(settle, future, result)

        self._pool.submit(work)
        return await future  # cancelled when the caller goes; the run itself goes on

    def close(self) -> None:
        """See `Scheduler.close`."""
        self._pool.shutdown(wait=True)
