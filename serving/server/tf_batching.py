"""Batching by TensorFlow's own scheduler: `--enable_batching` with the real server's parameters.

`tf.nondifferentiable_batch_function` is the C++ `SharedBatchScheduler` that TensorFlow Serving uses: the same
queues, timeouts, allowed sizes, padding and error texts. Its batched body calls the model's session. Calls
whose inner shapes differ get queues of their own; the real server joins them and fails them all.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.server.call import Array, Call
from serving.server.errors import ServingError, from_exception, invalid_argument
from serving.server.model import LoadedModel
from serving.server.model_config import parse_text
from serving.server.scheduling import run_call, settle
from serving.server.servable import Servable
from serving.wire import messages as wire

PER_MODEL_FILE = "batching_params.pbtxt"
_ERROR_MARK = "batch-error-"


@dataclass(frozen=True)
class BatchingParameters:
    """Settings of the scheduler; defaults are those of shared_batch_scheduler.h.

    Attributes:
        max_batch_size: rows of the largest batch.
        batch_timeout_micros: how long a batch waits for company, in microseconds.
        max_enqueued_batches: batches that may wait; more calls fail with UNAVAILABLE.
        num_batch_threads: batches that run at the same time.
        allowed_batch_sizes: sizes to pad to; empty means any.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()


def read_parameters(path: Path) -> BatchingParameters:
    """Reads a BatchingParameters file in text format.

    Raises:
        ServingError: INVALID_ARGUMENT: it cannot be read or its values do not fit together.
    """
    proto = parse_text(path, wire.BatchingParameters())
    if proto.pad_variable_length_inputs:
        raise invalid_argument(
            f"{path}: pad_variable_length_inputs is not supported here: calls of different inner shapes are "
            "batched apart from each other instead"
        )
    given = {
        name: getattr(proto, name).value
        for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
        if proto.HasField(name)
    }
    sizes = tuple(proto.allowed_batch_sizes)
    parameters = BatchingParameters(**given, allowed_batch_sizes=sizes)
    if any(a >= b for a, b in itertools.pairwise(sizes)):
        raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")
    if sizes and sizes[-1] != parameters.max_batch_size:
        raise invalid_argument(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; "
            f"expected {parameters.max_batch_size}"
        )
    return parameters


class TfBatchScheduler:
    """Runs calls through TensorFlow's batch scheduler.

    Args:
        parameters: for all models; None means that each model's own file decides
            (--enable_per_model_batching_parameters) and models without one are not batched.
        threads: calls that may be under way at the same time; a batch can never have more than that.
    """

    def __init__(self, parameters: BatchingParameters | None, threads: int):
        self._parameters = parameters
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model-run")
        self._queues: weakref.WeakKeyDictionary[LoadedModel, dict[object, Any]] = weakref.WeakKeyDictionary()
        self._errors: dict[str, ServingError] = {}
        self._lock = threading.Lock()

    async def run(self, servable: Servable, model: LoadedModel, call: Call) -> list[Array]:
        """See `serving.server.scheduling.Scheduler.run`."""
        loop = asyncio.get_running_loop()
        servable.acquire()
        future: asyncio.Future[list[Array]] = loop.create_future()

        def work() -> None:
            result = self._run(model, call)
            servable.release()
            loop.call_soon_threadsafe(settle, future, result)

        self._pool.submit(work)
        return await future

    def close(self) -> None:
        """See `serving.server.scheduling.Scheduler.close`."""
        self._pool.shutdown(wait=True)

    def _run(self, model: LoadedModel, call: Call) -> list[Array] | ServingError:
        try:
            parameters = self._parameters or _own_parameters(model)
            if parameters is None:
                return run_call(model, call)
            check_batchable(call)
            results = self._queue(model, call, parameters)(*(_tensor(array) for array in call.arrays))
            return [tensor.numpy() for tensor in results]
        except Exception as error:
            return self._original(from_exception(error))

    def _queue(self, model: LoadedModel, call: Call, parameters: BatchingParameters) -> Any:
        key = (call.feeds, call.fetches, tuple((a.dtype, a.shape[1:]) for a in call.arrays))
        with self._lock:
            queues = self._queues.setdefault(model, {})
            if key not in queues:
                queues[key] = _batched(weakref.ref(model), call, parameters, self._remember)
            return queues[key]

    def _remember(self, error: ServingError) -> str:
        """Keeps an error of a batch, whose members all get it: through the graph only a text can pass."""
        mark = f"{_ERROR_MARK}{id(error)}-"
        with self._lock:
            self._errors[mark] = error
            while len(self._errors) > 256:
                del self._errors[next(iter(self._errors))]
        return mark

    def _original(self, error: ServingError) -> ServingError:
        start = error.message.find(_ERROR_MARK)
        if start < 0:
            return error
        mark = error.message[start:].split("-", 3)
        return self._errors.get("-".join(mark[:3]) + "-", error)


def check_batchable(call: Call) -> None:
    """Checks what the real server's batching session checks.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if any(array.ndim == 0 for array in call.arrays):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    if call.rows() is None:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")


def _own_parameters(model: LoadedModel) -> BatchingParameters | None:
    path = model.path / PER_MODEL_FILE
    return read_parameters(path) if path.is_file() else None


def _tensor(array: Array) -> Any:
    return tf.constant(array, tf.string if array.dtype == object else None)


def _batched(
    model: weakref.ref[LoadedModel],
    call: Call,
    parameters: BatchingParameters,
    remember: Callable[[ServingError], str],
) -> Any:
    """A TensorFlow function that batches calls like this one and runs the model on each batch."""
    loaded = model()
    if loaded is None:
        raise RuntimeError("the model is gone")
    inputs = [loaded.tensor_dtype(name) for name in call.feeds]
    outputs = [loaded.tensor_dtype(name) for name in call.fetches]
    feeds, fetches = call.feeds, call.fetches

    def run(*arrays: Any) -> Any:
        alive = model()
        try:
            if alive is None:
                raise RuntimeError("the model is gone")
            return [np.asarray(r) for r in alive.run(feeds, arrays, fetches)]
        except ServingError as error:
            raise RuntimeError(remember(error)) from error

    batching = tf.nondifferentiable_batch_function(
        num_batch_threads=parameters.num_batch_threads,
        max_batch_size=parameters.max_batch_size,
        batch_timeout_micros=parameters.batch_timeout_micros,
        allowed_batch_sizes=list(parameters.allowed_batch_sizes) or None,
        max_enqueued_batches=parameters.max_enqueued_batches,
        autograph=False,
        enable_large_batch_splitting=False,
    )
    body = batching(lambda *tensors: tf.numpy_function(run, tensors, outputs))

    shapes = [[None, *array.shape[1:]] for array in call.arrays]
    signature = [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, inputs, strict=True)]
    return tf.function(lambda *tensors: body(*tensors), input_signature=signature, autograph=False)
