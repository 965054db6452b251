"""REST paths to calls of the core."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc

from serving.server.core import REST, Core
from serving.server.errors import ServingError, invalid_argument
from serving.server.rest import examples, parsing, rendering
from serving.server.signature import DEFAULT_NAME
from serving.wire import messages as wire

_CHOICE = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_CHOICE}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", re.IGNORECASE)

_HTTP_CODES = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status code, body and its type."""

    code: int
    body: bytes
    content_type: str = "application/json"


def error_answer(error: ServingError) -> Answer:
    """The answer to a request that failed."""
    return Answer(_HTTP_CODES.get(error.code, 500), rendering.error_json(error.message))


def route_of(method: str, path: str) -> str:
    """The path with its variable parts in braces, "/v1/models/{name}:predict"; "" if there is no such request."""
    match = {"POST": _POST, "GET": _GET}[method].fullmatch(path) if method in ("POST", "GET") else None
    if match is None or not match["name"]:
        return ""
    choice = "/versions/{version}" if match["version"] else "/labels/{label}" if match["label"] else ""
    parts = match.groupdict()
    end = f":{match['method'].lower()}" if "method" in parts else (parts["metadata"] or "").lower()
    return f"/v1/models/{{name}}{choice}{end}"


class Routes:
    """Answers REST requests.

    Args:
        core: does the work.
        metrics_path: where Prometheus finds the metrics; None means nowhere.
    """

    def __init__(self, core: Core, metrics_path: str | None = None):
        self._core = core
        self._metrics_path = metrics_path

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        """The answer to one request; never raises for a bad one.

        Args:
            method: "GET", "POST" ...
            path: without the query string, percent-encoded as it came.
            body: already unpacked.
        """
        if method == "GET" and path == self._metrics_path:
            return Answer(200, self._core.metrics.text().encode(), "text/plain")
        if not path.startswith("/v1/"):
            return Answer(404, rendering.error_json(f"Malformed request: {method} {path}"))
        try:
            return Answer(200, await self._dispatch(method, path, body))
        except ServingError as error:
            return error_answer(error)

    async def _dispatch(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST" and (match := _POST.fullmatch(path)):
            return await self._call(match, body)
        if method == "GET" and (match := _GET.fullmatch(path)):
            if not match["name"]:
                raise invalid_argument("Missing model name in request.")
            return await self._info(match)
        raise invalid_argument(f"Malformed request: {method} {path}")

    async def _call(self, match: re.Match[str], body: bytes) -> bytes:
        method = match["method"].lower()
        if method == "predict":
            return await self._predict(match, body)
        parsed = parsing.parse_object(body)
        request = wire.ClassificationRequest() if method == "classify" else wire.RegressionRequest()
        _fill_spec(request.model_spec, match)
        request.model_spec.signature_name = parsing.signature_name(parsed)
        examples.fill_examples(parsed, request)
        if method == "classify":
            return rendering.classification_json((await self._core.classify(request, REST)).result)
        return rendering.regression_json((await self._core.regress(request, REST)).result)

    async def _predict(self, match: re.Match[str], body: bytes) -> bytes:
        parsed = parsing.parse_object(body)
        request = wire.PredictRequest()
        _fill_spec(request.model_spec, match)
        request.model_spec.signature_name = parsing.signature_name(parsed)
        with self._core.servable(request.model_spec) as (servable, model):
            name = request.model_spec.signature_name or DEFAULT_NAME
            if name not in model.signatures:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            row_format = parsing.fill_inputs(parsed, model.signatures[name].inputs, request)
            request.model_spec.version.value = servable.version  # the one whose signature was read
            response = await self._core.predict(request, REST)
        return rendering.predict_json(response.outputs, row_format)

    async def _info(self, match: re.Match[str]) -> bytes:
        if match["metadata"]:
            request: Any = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
            _fill_spec(request.model_spec, match)
            return rendering.metadata_json(await self._core.get_model_metadata(request))
        request = wire.GetModelStatusRequest()
        _fill_spec(request.model_spec, match)
        return rendering.status_json(await self._core.get_model_status(request))


def _fill_spec(spec: Any, match: re.Match[str]) -> None:
    spec.name = unquote(match["name"])
    if match["version"]:
        version = int(match["version"])
        if version >= 2**63:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = version
    elif match["label"]:
        spec.version_label = unquote(match["label"])
