"""A SavedModel in memory: loaded into a TF1 session, as TensorFlow Serving does, and called by tensor names.

A session is used instead of `tf.saved_model.load` because the real server uses one: error texts, pruning to
the fetched outputs, and the initialisation of variables and tables are then the same, for models of TF1 and
TF2 alike. Calls go through `Session._make_callable_from_options`, a thin handle on C++ `RunCallable` that
costs a quarter of `Session.run` and lets go of the interpreter lock while the graph runs.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy.typing as npt
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops of TF.Text, as the real server does)
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from serving.server.errors import ServingError, from_exception
from serving.server.restore import ON_CALLING_THREAD, read_meta_graph, restore
from serving.server.signature import Signature, read_signatures

# Each distinct set of outputs needs its own pruned graph; callers choose the sets (output_filter).
_MAX_CALLABLES = 256
# Runs that take longer than this, in seconds, are worth being cut off at their caller's deadline: TensorFlow prepares
# the graph once more for runs that can be cut off.
_WORTH_A_TIMEOUT_S = 0.5


def session_config(intra_op_threads: int = 0, inter_op_threads: int = 0) -> Any:
    """A session's settings; 0 threads lets TensorFlow use all cores.

    Idle threads sleep at once instead of spinning for work: on few cores they would spin away what the network
    side of the server needs. Graphs are optimised in one pass instead of two: the second takes a quarter of the time
    that preparing a signature takes and makes runs no faster.
    """
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
        allow_soft_placement=True,
    )
    config.experimental.disable_thread_spinning = True
    config.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return config


@dataclass
class _Callable:
    """A handle on one pruned graph, and how long its runs take.

    Attributes:
        handle: runs the graph.
        runs: how many there were.
        last_s: seconds of the last run; the first does not count, for it also prepares the graph.
    """

    handle: Any
    runs: int = 0
    last_s: float = 0.0

    def ran(self, seconds: float) -> None:
        """Notes a run."""
        self.last_s = seconds if self.runs else 0.0
        self.runs += 1


class LoadedModel:
    """One version of a model, ready to run. Safe to call from several threads.

    Args:
        path: the version directory.
        session: holds the restored graph.
        meta_graph: the `MetaGraphDef` that carries the tags.
        on_run: told the seconds of every run.

    Attributes:
        signatures: by name.
    """

    def __init__(
        self,
        path: Path,
        session: Any,
        meta_graph: Any,
        on_run: Callable[[float], None] = lambda seconds: None,
    ):
        self.path = path
        self.meta_graph = meta_graph
        self.signatures: dict[str, Signature] = read_signatures(meta_graph)
        self._session = session
        self._on_run = on_run
        self._callables: OrderedDict[tuple[tuple[str, ...], tuple[str, ...]], _Callable] = OrderedDict()
        self._lock = threading.Lock()

    def run(
        self,
        feeds: Sequence[str],
        arrays: Sequence[npt.NDArray[Any]],
        fetches: Sequence[str],
        timeout_s: float | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Runs the part of the graph that the fetched tensors need.

        Args:
            feeds: tensor names, each once.
            arrays: one array a feed, of the tensor's dtype; strings are object arrays of bytes.
            fetches: tensor names, each once.
            timeout_s: seconds after which the result is of no use. Runs known to be long are then cut off;
                the handle that short ones use has no room for it.

        Returns:
            One array a fetch; strings are object arrays of bytes.

        Raises:
            ServingError: with TensorFlow's code and text.
        """
        begin = time.perf_counter()
        try:
            call = self._callable(tuple(feeds), tuple(fetches))
            if timeout_s is not None and call.last_s > _WORTH_A_TIMEOUT_S:
                result = self._run_within(feeds, arrays, fetches, timeout_s)
            else:
                result = call.handle(*arrays)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise from_exception(error) from error
        seconds = time.perf_counter() - begin
        call.ran(seconds)
        self._on_run(seconds)
        return result

    def close(self) -> None:
        """Frees the session's memory. No call may be running."""
        with self._lock:
            self._callables.clear()
        self._session.close()

    def _run_within(
        self, feeds: Sequence[str], arrays: Sequence[Any], fetches: Sequence[str], timeout_s: float
    ) -> list[npt.NDArray[Any]]:
        options = config_pb2.RunOptions(timeout_in_ms=max(math.ceil(timeout_s * 1e3), 1))
        result: list[npt.NDArray[Any]] = self._session.run(
            list(fetches), dict(zip(feeds, arrays, strict=True)), options
        )
        return result

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Callable:
        with self._lock:
            found = self._callables.get((feeds, fetches))
            if found is not None:
                return found
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches, run_options=ON_CALLING_THREAD)
        made = _Callable(self._session._make_callable_from_options(options))
        with self._lock:
            self._callables[feeds, fetches] = made
            if len(self._callables) > _MAX_CALLABLES:
                self._callables.popitem(last=False)
        return made


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TensorFlow's deprecation notes about what a session needs off the console."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def load_model(
    path: Path,
    tags: Sequence[str] = ("serve",),
    config: Any = None,
    on_run: Callable[[float], None] = lambda seconds: None,
    on_stage: Callable[[str, float], None] = lambda stage, seconds: None,
) -> LoadedModel:
    """Loads a SavedModel from a version directory.

    Args:
        path: directory that holds `saved_model.pb`.
        tags: the meta graph to load is the one with exactly these tags.
        config: a `ConfigProto` as of `session_config`.
        on_run: told the seconds of every run.
        on_stage: told the stages of a load that succeeded, with their seconds.

    Raises:
        ServingError: the directory is no SavedModel, has no such tags, needs an op that is not registered, or
            its variables cannot be restored.
    """
    meta_graph = read_meta_graph(path, tags)
    session = tf.compat.v1.Session(
        graph=tf.Graph(), config=config if config is not None else session_config()
    )
    try:
        with quiet():
            stages = restore(session, path, meta_graph)
        model = LoadedModel(path, session, meta_graph, on_run)
        for stage, seconds in stages.items():
            on_stage(stage, seconds)
        return model
    except Exception as error:
        session.close()
        if isinstance(error, (tf.errors.OpError, ServingError)):
            raise from_exception(error) from error
        text = f"{type(error).__name__}: {error}"
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, text) from error
