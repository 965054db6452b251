"""Which models a server has: from flags, a watched `models.config` file, or a reload request."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc

from serving.server import model_config
from serving.server.background import collector_paused
from serving.server.errors import ServingError, invalid_argument
from serving.server.loading import RetryPolicy
from serving.server.manager import Manager
from serving.server.metrics import Metrics
from serving.server.model import LoadedModel, load_model, session_config
from serving.server.options import ServerOptions
from serving.server.scheduling import Scheduler
from serving.server.source import ModelTarget
from serving.server.states import State
from serving.server.versions import index_versions, missing_files
from serving.server.warmup import replay
from serving.wire import messages as wire

_LOG = logging.getLogger(__name__)
# Holds the UUID of the model in ML Metadata. The real server's page shows that it is there, and 0 for the text.
_MLMD_FILE = Path("assets.extra", "mlmd_uuid")


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class Models:
    """Starts, reconfigures and stops the manager of the models.

    Args:
        options: the server's options.
        metrics: counts loads and warm-ups.
        scheduler: runs warm-up records as it will run requests.
    """

    def __init__(self, options: ServerOptions, metrics: Metrics, scheduler: Scheduler):
        self._options = options
        self._scheduler = scheduler
        self.manager = Manager(
            self._load,
            RetryPolicy(options.max_num_load_retries, options.load_retry_interval_micros / 1e6),
            options.file_system_poll_wait_seconds,
            options.num_load_threads or os.cpu_count() or 1,
        )
        self.metrics = metrics
        self._reloading = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Loads what is configured and waits until each model is available.

        Raises:
            StartError: nothing is configured, a base path is missing or empty, or a model cannot be loaded.
        """
        try:
            targets = self._configured()
            labels = self._labels(targets)
        except ServingError as error:
            raise StartError(f"Failed to start server. Error: {error}") from error
        for target in targets:
            _check_base_path(target)
        self.manager.configure(targets)
        self.manager.set_labels(labels)
        self.manager.start()
        failures = self._wait([target.name for target in targets])
        if failures:
            text = f"{len(failures)} servable(s) did not become available: {{{''.join(failures)}}}"
            raise StartError(f"Failed to start server. Error: UNKNOWN: {text}")
        self._watch()

    def stop(self) -> None:
        """Unloads everything."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        self.manager.stop()

    def reload(self, config: Any) -> None:
        """Replaces the configuration; returns when every new model has a version available.

        Raises:
            ServingError: the configuration is refused (the old one stays), or a new model cannot be loaded.
        """
        model_config.check_is_list(config)
        with self._reloading:
            targets = model_config.read_targets(config)
            for target in targets:
                if not target.base_path.is_dir():
                    raise invalid_argument(
                        f"Could not find base path {target.base_path} for servable {target.name}"
                    )
            labels = self._labels(targets)
            new = [target.name for target in targets if target.name not in self.manager.targets]
            self.manager.set_labels(labels)
            self.manager.configure(targets)
            failures = self._wait(new)
        if failures:
            text = f"{len(failures)} model(s) did not become available: {{{''.join(failures)}}}"
            raise ServingError(grpc.StatusCode.UNKNOWN, text)

    def _configured(self) -> list[ModelTarget]:
        options = self._options
        if options.model_config_file is not None:
            config = model_config.parse_text(options.model_config_file, wire.ModelServerConfig())
            return model_config.read_targets(config)
        if options.model_base_path is None:
            raise StartError(
                "Nothing to serve: give --model_base_path=DIR (and --model_name=NAME) or "
                "--model_config_file=FILE."
            )
        return [ModelTarget(options.model_name, options.model_base_path.absolute())]

    def _labels(self, targets: Iterable[ModelTarget]) -> dict[str, dict[str, int]]:
        return model_config.check_labels(
            targets,
            self.manager.monitor.is_available,
            self.manager.labels,
            self._options.allow_version_labels_for_unavailable_models,
        )

    def _wait(self, names: list[str]) -> list[str]:
        """Waits until these models are available or have failed; returns what failed, as text."""
        monitor = self.manager.monitor
        monitor.wait(lambda: self._stop.is_set() or monitor.settled(names))
        return [
            f"{{{{name: {name} version: {version}}} due to error: {status.error}}}, "
            for name in names
            if not monitor.is_available(name)
            for version, status in monitor.versions(name)
            if status.state is State.END and status.error
        ]

    def _load(self, target: ModelTarget, version: int, path: Path) -> LoadedModel:
        options = self._options
        config = session_config(
            options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
        )
        model = self._load_counted(path, config)
        if options.enable_model_warmup:
            try:
                self._warm_up(model)
            except ServingError:
                model.close()
                raise
        if (path / _MLMD_FILE).is_file():
            self.metrics.mlmd_map.set(0, target.name, str(version))
        return model

    def _load_counted(self, path: Path, config: Any) -> LoadedModel:
        def count_stage(stage: str, seconds: float) -> None:
            self.metrics.load_stages.observe(seconds * 1e6, str(path), stage)

        begin = time.perf_counter()
        status = "fail"
        try:
            tags = self._options.saved_model_tags.split(",")
            with collector_paused():
                model = load_model(path, tags, config, self.metrics.count_run, count_stage)
            status = "success"
        finally:
            self.metrics.load_attempts.add(str(path), status)
            self.metrics.load_latency.add(str(path), by=(time.perf_counter() - begin) * 1e6)
        return model

    def _warm_up(self, model: LoadedModel) -> None:
        begin = time.perf_counter()
        status = "OK"
        try:
            iterations = max(self._options.num_request_iterations_for_warmup, 1)
            records = replay(model, iterations, self._scheduler.warm_up)
            self.metrics.warmup_records.add(str(model.path), by=records)
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            elapsed = (time.perf_counter() - begin) * 1e6
            self.metrics.warmup_latency.observe(elapsed, str(model.path), status)

    def _watch(self) -> None:
        path, wait = self._options.model_config_file, self._options.model_config_file_poll_wait_seconds
        if path is not None and wait > 0:
            self._watcher = threading.Thread(target=self._watch_file, args=(path, wait), daemon=True)
            self._watcher.start()

    def _watch_file(self, path: Path, wait_s: int) -> None:
        """Applies the file whenever its text changes; after a bad one the old configuration stays."""
        seen = _text(path)
        while not self._stop.wait(wait_s):
            text = _text(path)
            if text == seen:
                continue
            seen = text
            try:
                config = model_config.parse_text(path, wire.ModelServerConfig())
                if model_config.is_empty(config):
                    _LOG.info("%s is empty: nothing changes", path)
                    continue
                self.reload(config)
                _LOG.info("Applied the changed %s", path)
            except ServingError as error:
                _LOG.error("%s is not applied: %s", path, error)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _check_base_path(target: ModelTarget) -> None:
    """Raises StartError unless there is something to load; the real server would wait for it without end."""
    base = target.base_path
    if not base.is_dir():
        raise StartError(
            f"The base path of model {target.name!r} does not exist: {base}. Give the directory that holds "
            "the version directories."
        )
    children = sorted(child.name for child in base.iterdir() if child.is_dir())
    versions = index_versions(children)
    if not versions:
        found = f"it has {', '.join(children[:5])}" if children else "it has no directories"
        raise StartError(
            f"The base path of model {target.name!r} holds no version: {base}. A version is a directory "
            f"whose name is a number, such as {base / '1'}; {found}."
        )
    lacking = {child: missing_files(base / child) for child in versions.values()}
    if all(lacking.values()):
        child, missing = next(iter(lacking.items()))
        raise StartError(
            f"The base path of model {target.name!r} holds no whole SavedModel: {base / child} is missing: "
            f"{', '.join(missing)}. Is it still being written, or was its copy cut off?"
        )
