"""OpenTelemetry spans of the server's calls; needs `pip install 'twotower[tracing]'` and --enable_tracing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from serving.server.errors import ServingError

# Others must not become names of spans without end.
_HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Tracing:
    """Makes spans by the conventions for RPC and HTTP servers; ids, texts and vectors are in none of them.

    Args:
        provider: a TracerProvider; None: the global one, which `opentelemetry-instrument` sets up.

    Raises:
        ImportError: opentelemetry-api is not installed.
    """

    def __init__(self, provider: Any = None):
        from opentelemetry import propagate, trace

        self._trace = trace
        self._propagate = propagate
        self._tracer = trace.get_tracer("twotower.server", tracer_provider=provider)

    @contextmanager
    def call(self, service: str, method: str, headers: Mapping[str, str]) -> Iterator[None]:
        """The span of one gRPC call, below the one that the caller's headers name."""
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        with self._span(f"{service}/{method}", headers, attributes) as span:
            code = "OK"
            try:
                yield
            except ServingError as error:
                code = error.code.name
                raise
            except BaseException as error:
                code = type(error).__name__
                raise
            finally:
                span.set_attribute("rpc.response.status_code", code)
                if code != "OK":
                    self._fail(span, code)

    @contextmanager
    def request(
        self, method: str, path: str, route: str, headers: Mapping[str, str]
    ) -> Iterator[Callable[[int], None]]:
        """The span of one HTTP request, below the one that the caller's headers name.

        By the conventions a server's span is an error only if the server is to blame: 5xx, or no answer at all.

        Args:
            method: "GET", "POST" ...
            path: without the query string.
            route: the path with names in braces for its parts, such as "/v1/models/{name}:predict"; "": unknown.
            headers: names in small letters.

        Yields:
            Takes the status code of the answer.
        """
        known = method if method in _HTTP_METHODS else "HTTP"
        attributes = {"url.scheme": "http", "url.path": path}
        attributes["http.request.method"] = method if method in _HTTP_METHODS else "_OTHER"
        if route:
            attributes["http.route"] = route
        with self._span(f"{known} {route}".strip(), headers, attributes) as span:

            def answered(code: int) -> None:
                span.set_attribute("http.response.status_code", code)
                if code >= 500:
                    span.set_attribute("error.type", str(code))
                    self._fail(span, str(code))

            try:
                yield answered
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                self._fail(span, type(error).__name__)
                raise

    def _span(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> AbstractContextManager[Any]:
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            name,
            context=self._propagate.extract(dict(headers)),
            kind=self._trace.SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        return span

    def _fail(self, span: Any, text: str) -> None:
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, text))
