"""Signatures of the models a client talks to, fetched once a version."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

from serving.client.calling import Caller, Step
from serving.client.deadline import Deadline
from serving.client.results import ModelMetadata
from serving.client.routing import Route
from serving.client.signatures import parse_metadata
from serving.client.transport import Rpc
from serving.wire.messages import GetModelMetadataRequest
from serving.wire.methods import GET_MODEL_METADATA

# Versions to remember; a client of a server that publishes hourly for a year must not grow.
_MOST = 64


class Catalog:
    """Remembers the signatures of each version, and which version a route led to last."""

    def __init__(self, caller: Caller, model: str) -> None:
        self._caller = caller
        self._model = model
        self._current: dict[Route, int] = {}
        self._known: dict[tuple[str, int], ModelMetadata] = {}
        self._lock = threading.Lock()

    def find(self, route: Route) -> ModelMetadata | None:
        """Returns the signatures behind a route, or None when they have to be fetched."""
        version = self._current.get(route)
        return None if version is None else self._known.get((self._name(route), version))

    def fetch(self, route: Route, deadline: Deadline) -> Generator[Step, Any, ModelMetadata]:
        """Asks the server for the signatures behind a route and remembers them."""
        request = GetModelMetadataRequest(
            model_spec=route.spec(self._model), metadata_field=["signature_def"]
        )
        rpc = Rpc(GET_MODEL_METADATA, request, self._name(route))
        reply = yield from self._caller.call(rpc, deadline)
        metadata = parse_metadata(reply.response)
        with self._lock:
            while len(self._known) >= _MOST:
                self._known.pop(next(iter(self._known)))
            self._known[self._name(route), metadata.version] = metadata
            self._current[route] = metadata.version
        return metadata

    def answered(self, route: Route, version: int) -> None:
        """Takes note of the version that answered: after a swap its signatures are the ones that count."""
        if self._current.get(route) != version:
            with self._lock:
                self._current[route] = version

    def _name(self, route: Route) -> str:
        return route.model or self._model
