"""The standard gRPC health service (grpc.health.v1), under the real server's three names."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from serving.server.errors import not_found
from serving.wire import messages as wire

NAMES = ("", "ModelService", "PredictionService")
_SERVICE = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3


class Health:
    """Answers Check and Watch; lives on the server's event loop."""

    def __init__(self) -> None:
        self._serving = True
        self._changed = asyncio.Event()

    def shut_down(self) -> None:
        """Turns every name to NOT_SERVING and tells those who watch."""
        self._serving = False
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def handler(self) -> Any:
        """The gRPC handler of the service."""
        codec = {
            "request_deserializer": wire.HealthCheckRequest.FromString,
            "response_serializer": wire.HealthCheckResponse.SerializeToString,
        }
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **codec),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **codec),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    def _status(self) -> int:
        return _SERVING if self._serving else _NOT_SERVING

    async def _check(self, request: Any, context: Any) -> Any:
        if request.service not in NAMES:
            await context.abort(not_found("").code, "")
        return wire.HealthCheckResponse(status=self._status())

    async def _watch(self, request: Any, context: Any) -> Any:
        while True:
            changed = self._changed
            known = request.service in NAMES
            yield wire.HealthCheckResponse(status=self._status() if known else _SERVICE_UNKNOWN)
            if not self._serving:
                return
            await changed.wait()
