"""Request logging to rotating files, with sampling and masked inputs. The stock real server has none.

Only Predict calls that succeeded are logged. A thread of its own writes; when it cannot keep up, records are
dropped and counted, and no call ever waits for the disk.
"""

from __future__ import annotations

import json
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from serving.server.metrics import Counter, request_log_counter
from serving.wire import messages as wire
from serving.wire.tensors import decode_tensor

_LOG = logging.getLogger(__name__)
_QUEUE = 1000


@dataclass(frozen=True)
class LogSettings:
    """What is logged, and where.

    Attributes:
        directory: files go here; it is made if missing.
        sampling_rate: share of the calls, 0 to 1.
        file_format: "jsonl" (one object a line) or "tfrecord" (PredictionLog messages, fit for warm-up).
        masked: input aliases that are left out of every record, such as user ids.
        max_bytes: a file that has grown to this size is closed and a new one begun.
        max_files: older files are deleted.
    """

    directory: Path
    sampling_rate: float = 0.01
    file_format: Literal["jsonl", "tfrecord"] = "jsonl"
    masked: frozenset[str] = frozenset()
    max_bytes: int = 64 * 1024 * 1024
    max_files: int = 10


class RequestLog:
    """Takes calls and writes a sample of them.

    Args:
        settings: see `LogSettings`.
        draw: numbers from 0 to 1 for the sampling, for tests.
        count: counts what was written and what was dropped; None: one of its own.
    """

    def __init__(
        self,
        settings: LogSettings,
        draw: Callable[[], float] = random.random,
        count: Counter | None = None,
    ):
        self._settings = settings
        self._draw = draw
        self.count = count if count is not None else request_log_counter()
        self._queue: queue.Queue[tuple[float, Any, Any] | None] = queue.Queue(_QUEUE)
        settings.directory.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._work, name="request-log", daemon=True)
        self._thread.start()

    def add(self, request: Any, response: Any) -> None:
        """Logs a Predict call, if it falls into the sample."""
        if self._draw() >= self._settings.sampling_rate:
            return
        try:
            self._queue.put_nowait((time.time(), request, response))
        except queue.Full:
            self.count.add(request.model_spec.name, "RESOURCE_EXHAUSTED")

    def close(self) -> None:
        """Writes what is waiting."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        file = _RotatingFile(self._settings)
        encode = _json_line if self._settings.file_format == "jsonl" else _tfrecord
        while (item := self._queue.get()) is not None:
            at, request, response = item
            try:
                file.write(encode(at, _masked(request, self._settings.masked), response))
                self.count.add(request.model_spec.name, "OK")
            except Exception as error:  # a full disk must not end the logging for good
                _LOG.warning("A request could not be logged: %s", error)
                self.count.add(request.model_spec.name, "UNKNOWN")
        file.close()


class _RotatingFile:
    """Files NAME-000001.jsonl and so on; the number grows over restarts too."""

    def __init__(self, settings: LogSettings):
        self._settings = settings
        self._writer: Any = None
        self._size = 0

    def write(self, record: bytes) -> None:
        if self._writer is None:
            self._open()
        self._writer.write(record)
        self._writer.flush()
        self._size += len(record)
        if self._size >= self._settings.max_bytes:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> None:
        suffix = self._settings.file_format
        known = sorted(self._settings.directory.glob(f"requests-*.{suffix}"))
        for old in known[: max(len(known) - self._settings.max_files + 1, 0)]:
            old.unlink()
        number = int(known[-1].stem.rpartition("-")[2]) + 1 if known else 1
        path = self._settings.directory / f"requests-{number:06d}.{suffix}"
        self._writer = tf.io.TFRecordWriter(str(path)) if suffix == "tfrecord" else path.open("ab")
        self._size = 0


def _masked(request: Any, masked: frozenset[str]) -> Any:
    if not masked.intersection(request.inputs):
        return request
    copy = wire.PredictRequest()
    copy.CopyFrom(request)
    for alias in masked.intersection(copy.inputs):
        del copy.inputs[alias]
    return copy


def _tfrecord(at: float, request: Any, response: Any) -> bytes:
    log = wire.PredictionLog()
    log.log_metadata.model_spec.CopyFrom(response.model_spec)
    log.log_metadata.timestamp_secs = int(at)
    log.predict_log.request.CopyFrom(request)
    log.predict_log.response.CopyFrom(response)
    return bytes(log.SerializeToString())


def _json_line(at: float, request: Any, response: Any) -> bytes:
    record = {
        "time": round(at, 3),
        "model": response.model_spec.name,
        "version": response.model_spec.version.value,
        "signature": response.model_spec.signature_name,
        "inputs": {alias: _values(request.inputs[alias]) for alias in sorted(request.inputs)},
        "outputs": {alias: _values(response.outputs[alias]) for alias in sorted(response.outputs)},
    }
    return json.dumps(record, ensure_ascii=False, default=_text).encode("utf-8", "replace") + b"\n"


def _values(proto: Any) -> Any:
    return decode_tensor(proto).tolist()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
