"""A SavedModel in memory: loaded into a TF1 session, as TensorFlow Serving does, and called by tensor names.

A session is used instead of `tf.saved_model.load` because the real server uses one: error texts, pruning to
the fetched outputs, and the initialisation of variables and tables are then the same, for models of TF1 and
TF2 alike. Calls go through `Session._make_callable_from_options`, a thin handle on C++ `RunCallable` that
costs a quarter of `Session.run` and lets go of the interpreter lock while the graph runs.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy.typing as npt
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops of TF.Text, as the real server does)
from tensorflow.core.protobuf import config_pb2

from serving.server.errors import ServingError, from_exception
from serving.server.signature import Signature, read_signatures

# Each distinct set of outputs needs its own pruned graph; callers choose the sets (output_filter).
_MAX_CALLABLES = 256


def session_config(intra_op_threads: int = 0, inter_op_threads: int = 0) -> Any:
    """A session's settings; 0 threads lets TensorFlow use all cores."""
    return config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
        allow_soft_placement=True,
    )


class LoadedModel:
    """One version of a model, ready to run. Safe to call from several threads.

    Attributes:
        path: the version directory.
        meta_graph: the `MetaGraphDef` that carries the tags.
        signatures: by name.
    """

    def __init__(self, path: Path, session: Any, meta_graph: Any):
        self.path = path
        self.meta_graph = meta_graph
        self.signatures: dict[str, Signature] = read_signatures(meta_graph)
        self._session = session
        self._callables: OrderedDict[tuple[tuple[str, ...], tuple[str, ...]], Any] = OrderedDict()
        self._lock = threading.Lock()

    def run(
        self, feeds: Sequence[str], arrays: Sequence[npt.NDArray[Any]], fetches: Sequence[str]
    ) -> list[npt.NDArray[Any]]:
        """Runs the part of the graph that the fetched tensors need.

        Args:
            feeds: tensor names, each once.
            arrays: one array a feed, of the tensor's dtype; strings are object arrays of bytes.
            fetches: tensor names, each once.

        Returns:
            One array a fetch; strings are object arrays of bytes.

        Raises:
            ServingError: with TensorFlow's code and text.
        """
        try:
            call = self._callable(tuple(feeds), tuple(fetches))
            result: list[npt.NDArray[Any]] = call(*arrays)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise from_exception(error) from error
        return result

    def tensor_dtype(self, name: str) -> Any:
        """The `tf.DType` of a tensor of the graph."""
        return self._session.graph.get_tensor_by_name(name).dtype.base_dtype

    def close(self) -> None:
        """Frees the session's memory. No call may be running."""
        with self._lock:
            self._callables.clear()
        self._session.close()

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        with self._lock:
            found = self._callables.get((feeds, fetches))
            if found is not None:
                return found
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        made = self._session._make_callable_from_options(options)
        with self._lock:
            self._callables[feeds, fetches] = made
            if len(self._callables) > _MAX_CALLABLES:
                self._callables.popitem(last=False)
        return made


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TensorFlow's deprecation notes about its own loader off the console."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def load_model(path: Path, tags: Sequence[str] = ("serve",), config: Any = None) -> LoadedModel:
    """Loads a SavedModel from a version directory.

    Args:
        path: directory that holds `saved_model.pb`.
        tags: the meta graph to load is the one with exactly these tags.
        config: a `ConfigProto` as of `session_config`.

    Raises:
        ServingError: the directory is no SavedModel, has no such tags, needs an op that is not registered, or
            its variables cannot be restored.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config if config is not None else session_config())
    try:
        with quiet():
            meta_graph = tf.compat.v1.saved_model.load(session, list(tags), str(path))
        return LoadedModel(path, session, meta_graph)
    except Exception as error:
        session.close()
        raise _load_error(path, error) from error


def _load_error(path: Path, error: Exception) -> ServingError:
    """TensorFlow's own error as it is; what its Python loader adds gets the code of the C++ loader."""
    if isinstance(error, (tf.errors.OpError, ServingError)):
        return from_exception(error)
    file = path / "saved_model.pb"
    if isinstance(error, OSError) and file.is_file():
        return ServingError(grpc.StatusCode.DATA_LOSS, f"Can't parse {file} as binary proto")
    if isinstance(error, RuntimeError):  # no meta graph with these tags
        return ServingError(grpc.StatusCode.NOT_FOUND, str(error))
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"{type(error).__name__}: {error}")
