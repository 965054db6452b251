"""Natural micro-batching: whatever waits when a model becomes free runs as one batch.

Rows of waiting calls with the same tensors and inner shapes are joined, run once and cut apart again. A call
that comes to an idle model runs at once: nothing waits for company, there is no timer. Batches are not padded
to fixed sizes: a session has no cost per shape, and padding made the model compute up to twice the rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.server.call import Array, Call
from serving.server.errors import ServingError
from serving.server.model import LoadedModel
from serving.server.scheduling import run_call, settle
from serving.server.servable import Servable


@dataclass(frozen=True)
class _Job:
    call: Call
    key: object
    rows: int
    future: asyncio.Future[list[Array]]
    servable: Servable


class MicroBatchScheduler:
    """Joins calls of one model version while it is busy.

    Args:
        threads: runs at the same time over all models.
        max_rows: the largest batch; a call with more rows runs by itself.
    """

    def __init__(self, threads: int, max_rows: int = 64):
        self._max_rows = max_rows
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model-run")
        self._waiting: dict[LoadedModel, deque[_Job]] = {}

    async def run(self, servable: Servable, model: LoadedModel, call: Call) -> list[Array]:
        """See `serving.server.scheduling.Scheduler.run`."""
        loop = asyncio.get_running_loop()
        servable.acquire()
        rows = call.rows() if call.batchable else None
        joinable = rows is not None and 0 < rows <= self._max_rows
        key: object = batch_key(call) if joinable else object()
        job = _Job(call, key, rows or 0, loop.create_future(), servable)
        queue = self._waiting.get(model)
        if queue is None:
            self._waiting[model] = deque()
            self._start(loop, model, [job])
        else:
            queue.append(job)
        return await job.future  # cancelled when the caller goes; the run itself goes on

    def close(self) -> None:
        """See `serving.server.scheduling.Scheduler.close`."""
        self._pool.shutdown(wait=True)

    def _start(self, loop: asyncio.AbstractEventLoop, model: LoadedModel, jobs: list[_Job]) -> None:
        def work() -> None:
            results = run_jointly(model, [job.call for job in jobs])
            loop.call_soon_threadsafe(self._finish, loop, model, jobs, results)

        self._pool.submit(work)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        model: LoadedModel,
        jobs: list[_Job],
        results: Sequence[list[Array] | ServingError],
    ) -> None:
        queue = self._waiting[model]
        if queue:
            self._start(loop, model, self._take(queue))
        else:
            del self._waiting[model]
        for job, result in zip(jobs, results, strict=True):
            job.servable.release()
            settle(job.future, result)

    def _take(self, queue: deque[_Job]) -> list[_Job]:
        """The oldest job and all that fit into a batch with it; the rest keep their order."""
        first = queue.popleft()
        taken, rest, rows = [first], [], first.rows
        while queue:
            job = queue.popleft()
            if job.key == first.key and rows + job.rows <= self._max_rows:
                taken.append(job)
                rows += job.rows
            else:
                rest.append(job)
        queue.extend(rest)
        return taken


def batch_key(call: Call) -> object:
    """What calls must have in common to run as one: tensors, types and inner shapes."""
    return call.feeds, call.fetches, tuple((array.dtype, array.shape[1:]) for array in call.arrays)


def run_jointly(model: LoadedModel, calls: Sequence[Call]) -> list[list[Array] | ServingError]:
    """Runs calls with one batch key as one batch; if that fails, each by itself: one cannot spoil others.

    Returns:
        For each call its arrays, or the error it gets.
    """
    if len(calls) > 1:
        joint = _run_batch(model, calls)
        if joint is not None:
            return joint
    return [run_call(model, call) for call in calls]


def _run_batch(model: LoadedModel, calls: Sequence[Call]) -> list[Any] | None:
    sizes = [call.arrays[0].shape[0] for call in calls]
    size = sum(sizes)
    arrays = [np.concatenate(parts) for parts in zip(*(call.arrays for call in calls), strict=True)]
    try:
        results = model.run(calls[0].feeds, arrays, calls[0].fetches)
    except ServingError:
        return None
    if any(result.ndim == 0 or result.shape[0] != size for result in results):
        return None
    ends = np.cumsum(sizes)
    return [[result[end - n : end] for result in results] for end, n in zip(ends, sizes, strict=True)]
