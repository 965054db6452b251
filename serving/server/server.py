"""The embedded server: loads models, opens the port, and stops gracefully."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from serving.server.batching_parameters import BatchingParameters, read_parameters
from serving.server.core import Core
from serving.server.errors import ServingError
from serving.server.grpc_service import generic_handlers
from serving.server.guard import Guard, read_tokens
from serving.server.health import Health
from serving.server.limits import Limits
from serving.server.metrics import Metrics
from serving.server.microbatch import MicroBatchScheduler
from serving.server.model_config import parse_text
from serving.server.models import Models, StartError
from serving.server.op_modules import register_ops
from serving.server.options import ServerOptions
from serving.server.profiler import profiler_handler
from serving.server.request_log import LogSettings, RequestLog
from serving.server.rest.http import HttpLimits, HttpServer
from serving.server.rest.routes import Routes
from serving.server.scheduling import Scheduler, ThreadScheduler
from serving.server.tf_batching import TfBatchScheduler
from serving.server.tls import server_credentials
from serving.server.tracing import Tracing
from serving.wire import messages as wire
from serving.wire import methods

# One connection must not hold memory for calls without end; more of them wait at the caller.
_MAX_CALLS_OF_A_CONNECTION = 1024
DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


class EmbeddedServer:
    """A model server in this process, as a context manager.

    Example:
        with EmbeddedServer(model_name="half", model_base_path="/models/half", port=0) as server:
            channel = grpc.insecure_channel(server.address)

    Args:
        options: all settings; or give them as keywords, named as in `ServerOptions`.
    """

    def __init__(self, options: ServerOptions | None = None, **settings: Any):
        self.options = options if options is not None else ServerOptions(**settings)
        self.metrics = Metrics()
        self._scheduler = self._make_scheduler()
        self._models = Models(self.options, self.metrics, self._scheduler)
        self.manager = self._models.manager
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpc-loop", daemon=True)
        self._server: Any = None
        self._health: Health | None = None
        self._http: HttpServer | None = None
        self.rest_port = 0
        self._guard = self._make_guard()
        self._tracing = self._make_tracing()
        self._request_log = self._make_request_log()
        self._metrics_path = self._read_monitoring()

    @property
    def address(self) -> str:
        """Where gRPC clients reach the server, "host:port"."""
        return f"{self.options.host}:{self.port}"

    def start(self) -> None:
        """Loads all models, then opens the port: an open port means that every model is available.

        Raises:
            StartError: a base path is missing or empty, a model cannot be loaded, a module of operations cannot be
                imported, or the port is in use.
        """
        self._check_port()
        register_ops(self.options.op_modules)
        try:
            self._models.start()
            self._thread.start()
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Health turns NOT_SERVING, running calls finish (up to `drain_seconds`), memory is freed."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._scheduler.close()
        self._models.stop()
        if self._request_log is not None:
            self._request_log.close()
            self._request_log = None
        if not self._loop.is_closed():
            self._loop.close()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read_monitoring(self) -> str | None:
        """The path of the metrics, from --monitoring_config_file."""
        path = self.options.monitoring_config_file
        if path is None:
            return None
        try:
            config = parse_text(path, wire.MonitoringConfig()).prometheus_config
        except ServingError as error:
            raise StartError(f"Failed to start server. Error: {error}") from error
        return (config.path or DEFAULT_METRICS_PATH) if config.enable else None

    def _make_request_log(self) -> RequestLog | None:
        options = self.options
        if options.request_log_dir is None:
            return None
        masked = frozenset(filter(None, options.request_log_masked_inputs.split(",")))
        try:
            log = RequestLog(
                LogSettings(
                    options.request_log_dir,
                    options.request_log_sampling_rate,
                    options.request_log_format,
                    masked,
                ),
                count=self.metrics.request_log_count,
            )
        except OSError as error:
            raise StartError(
                f"Cannot write to {options.request_log_dir}: {error.strerror or error}"
            ) from error
        return log

    def _make_tracing(self) -> Tracing | None:
        if not self.options.enable_tracing:
            return None
        try:
            return Tracing()
        except ImportError as error:
            raise StartError(
                f"--enable_tracing needs OpenTelemetry ({error}): pip install 'twotower[tracing]'"
            ) from error

    def _make_guard(self) -> Guard | None:
        path, quota = self.options.auth_token_file, self.options.max_requests_per_second_per_caller
        if path is None and quota is None:
            return None
        try:
            tokens = read_tokens(path) if path is not None else None
        except ServingError as error:
            raise StartError(f"Failed to start server. Error: {error}") from error
        return Guard(tokens, quota, burst=max(1, math.ceil(quota or 1)))

    def _make_scheduler(self) -> Scheduler:
        if self.options.micro_batching:
            return MicroBatchScheduler(os.cpu_count() or 1, self.options.micro_batching_max_rows)
        if self.options.enable_batching:
            return TfBatchScheduler(
                self._batching_parameters(), self.options.grpc_max_threads, self.metrics.batching
            )
        if self.options.batching_parameters_file is not None:
            raise StartError(
                "Failed to start server. Error: INVALID_ARGUMENT: server_options.batching_parameters_file is set "
                "without setting server_options.enable_batching to true."
            )
        return ThreadScheduler(self.options.grpc_max_threads)

    def _batching_parameters(self) -> BatchingParameters | None:
        if self.options.enable_per_model_batching_parameters:
            return None
        path = self.options.batching_parameters_file
        try:
            return read_parameters(path) if path is not None else BatchingParameters()
        except ServingError as error:
            raise StartError(f"Failed to start server. Error: {error}") from error

    # ---- network --------------------------------------------------------------------------------------

    def _check_port(self) -> None:
        """Says at once that a port is taken, before models are loaded for minutes."""
        host = self.options.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, self.options.port))
        except OSError as error:
            raise StartError(
                f"Cannot listen on {self.options.host}:{self.options.port}: {error.strerror or error}. "
                "Choose another --port (0 takes a free one) or stop what uses it."
            ) from error

    async def _open(self) -> None:
        self._server = grpc.aio.server(
            options=channel_options(self.options),
            maximum_concurrent_rpcs=self.options.max_concurrent_requests,
        )
        self._health = Health()
        core = Core(
            self.manager,
            self._scheduler,
            self.options.enable_serialization_as_tensor_content,
            self.options.enable_signature_method_name_check,
            self.metrics,
            self._models.reload if self.options.enable_reload_config else None,
            self._request_log,
            Limits(self.options.max_batch_rows, self.options.max_string_bytes),
        )
        routes = {
            methods.PREDICT: core.predict,
            methods.CLASSIFY: core.classify,
            methods.REGRESS: core.regress,
            methods.MULTI_INFERENCE: core.multi_inference,
            methods.GET_MODEL_METADATA: core.get_model_metadata,
            methods.RELOAD_CONFIG: core.reload_config,
            methods.GET_MODEL_STATUS: core.get_model_status,
        }
        self._server.add_generic_rpc_handlers(tuple(generic_handlers(routes, self._guard, self._tracing)))
        if self.options.enable_profiler:
            self._server.add_generic_rpc_handlers((profiler_handler(self._guard),))
        if self.options.enable_grpc_healthcheck_service:
            self._server.add_generic_rpc_handlers((self._health.handler(),))
        self._listen()
        await self._server.start()
        if self.options.rest_api_port:
            await self._open_rest(core)

    def _listen(self) -> None:
        address = f"{self.options.host}:{self.options.port}"
        try:
            if self.options.ssl_config_file is not None:
                credentials = server_credentials(self.options.ssl_config_file)
                self.port = self._server.add_secure_port(address, credentials)
            else:
                self.port = self._server.add_insecure_port(address)
            if self.options.grpc_socket_path:
                self._server.add_insecure_port(f"unix:{self.options.grpc_socket_path}")
        except ServingError as error:
            raise StartError(f"Failed to start server. Error: {error}") from error
        except RuntimeError as error:
            raise StartError(f"Cannot listen on {address}: {error}") from error

    async def _open_rest(self, core: Core) -> None:
        limits = HttpLimits(timeout_s=self.options.rest_api_timeout_in_ms / 1e3)
        routes = Routes(core, self._metrics_path)
        self._http = HttpServer(
            routes.answer,
            limits,
            self.options.rest_api_enable_cors_support,
            self._guard,
            self._tracing,
        )
        port = max(self.options.rest_api_port, 0)
        try:
            self.rest_port = await self._http.start(self.options.host, port)
        except OSError as error:
            raise StartError(f"Cannot listen on {self.options.host}:{port}: {error.strerror}") from error

    async def _close(self) -> None:
        if self._health is not None:
            self._health.shut_down()
        if self._server is not None:
            http = [self._http.stop(self.options.drain_seconds)] if self._http is not None else []
            await asyncio.gather(self._server.stop(self.options.drain_seconds), *http)


def channel_options(options: ServerOptions) -> list[tuple[str, int | str]]:
    """The arguments of the gRPC server: our limits, then --grpc_channel_arguments.

    Raises:
        StartError: an argument is not of the form key=value.
    """
    result: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", _MAX_CALLS_OF_A_CONNECTION),
    ]
    for argument in filter(None, options.grpc_channel_arguments.split(",")):
        key, equals, value = argument.partition("=")
        if not equals:
            raise StartError(f"--grpc_channel_arguments: expected key=value, got {argument!r}.")
        is_number = value.removeprefix("-").isdigit()
        result.append((key, int(value) if is_number else value))
    return result
