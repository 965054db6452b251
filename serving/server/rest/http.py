"""A small HTTP/1.1 server on asyncio: what the REST API needs, with limits against hostile clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from serving.server.deadline import set_deadline
from serving.server.errors import ServingError
from serving.server.guard import Guard
from serving.server.rest.rendering import error_json
from serving.server.rest.routes import Answer, error_answer, route_of
from serving.server.tracing import Tracing

_LOG = logging.getLogger(__name__)
_MAX_HEAD = 64 * 1024
_MAX_BODY = 100 * 1024 * 1024  # of an unpacked gzip body in the real server; here of every body
_CORS = (
    "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET,POST\r\n"
    "Access-Control-Allow-Headers: Origin,Content-Type,Accept\r\n"
)

Respond = Callable[[str, str, bytes], Awaitable[Answer]]


@dataclass(frozen=True)
class HttpLimits:
    """Limits of the HTTP server.

    Attributes:
        timeout_s: for a request to arrive whole, and for its answer, in seconds.
        idle_s: how long an unused connection is kept, in seconds.
        max_body: bytes of a body, unpacked.
        max_connections: open at the same time; more are closed at once.
    """

    timeout_s: float = 30.0
    idle_s: float = 75.0
    max_body: int = _MAX_BODY
    max_connections: int = 1024


class _Refused(Exception):  # noqa: N818
    """A request that is answered with an error without asking the routes; the connection is then closed."""

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.answer = Answer(code, error_json(text))


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class HttpServer:
    """Serves one function over HTTP.

    Args:
        respond: (method, path without query, body) -> answer.
        limits: see `HttpLimits`.
        guard: sees every request first.
        cors: add CORS headers and answer OPTIONS (--rest_api_enable_cors_support).
        tracing: makes a span of every request to the API; metrics have none.
    """

    def __init__(
        self,
        respond: Respond,
        limits: HttpLimits | None = None,
        cors: bool = False,
        guard: Guard | None = None,
        tracing: Tracing | None = None,
    ):
        self._respond = respond
        self._limits = limits or HttpLimits()
        self._cors = cors
        self._guard = guard
        self._tracing = tracing
        self._connections: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closing = False

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._accept, host.strip("[]"), port, limit=_MAX_HEAD)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """No new connections; running requests are answered, within `grace_s`; idle ones are closed."""
        if self._server is None:
            return
        self._closing = True
        self._server.close()
        for task in self._connections - self._busy:
            task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=grace_s)
            for task in late:
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._closing or len(self._connections) >= self._limits.max_connections:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(task, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, asyncio.TimeoutError):
            pass  # the client has gone or is too slow
        finally:
            self._connections.discard(task)
            self._busy.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while not self._closing:
            try:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self._limits.idle_s)
            except asyncio.LimitOverrunError:
                await self._send(writer, Answer(431, error_json("Request header is too large")), False)
                return
            self._busy.add(task)
            try:
                request = await asyncio.wait_for(self._read(head, reader), self._limits.timeout_s)
                answer = await self._traced(request, writer)
                keep_alive = request.keep_alive and not self._closing
            except _Refused as refused:
                answer, keep_alive = refused.answer, False
            await self._send(writer, answer, keep_alive)
            self._busy.discard(task)
            if not keep_alive:
                return

    async def _traced(self, request: _Request, writer: asyncio.StreamWriter) -> Answer:
        if self._tracing is None or not request.path.startswith("/v1/"):
            return await self._answer(request, writer)
        route = route_of(request.method, request.path)
        with self._tracing.request(request.method, request.path, route, request.headers) as answered:
            answer = await self._answer(request, writer)
            answered(answer.code)
            return answer

    async def _answer(self, request: _Request, writer: asyncio.StreamWriter) -> Answer:
        if request.method == "OPTIONS" and self._cors:
            return Answer(200, b"")
        try:
            if self._guard is not None:
                peer = str((writer.get_extra_info("peername") or ("?",))[0])
                self._guard.check(request.headers.get("authorization", ""), peer)
            set_deadline(self._limits.timeout_s)
            work = self._respond(request.method, request.path, request.body)
            return await asyncio.wait_for(work, self._limits.timeout_s)
        except ServingError as error:
            return error_answer(error)
        except (TimeoutError, asyncio.TimeoutError):
            return Answer(504, error_json("Timed out waiting for the model"))
        except Exception:
            _LOG.exception("%s %s failed unexpectedly", request.method, request.path)
            return Answer(500, error_json("internal error; see the server's log"))

    async def _read(self, head: bytes, reader: asyncio.StreamReader) -> _Request:
        method, target, version, headers = _parse_head(head)
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = await self._read_chunks(reader)
        else:
            length = headers.get("content-length", "0")
            if not length.isascii() or not length.isdigit():
                raise _Refused(400, f"Malformed Content-Length: {length}")
            self._check_size(int(length))
            body = await reader.readexactly(int(length))
        if headers.get("content-encoding", "").lower() == "gzip":
            body = self._unpack(body)
        connection = headers.get("connection", "").lower()
        keep_alive = connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"
        return _Request(method, target.partition("?")[0], headers, body, keep_alive)

    async def _read_chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = bytearray()
        while True:
            line = (await reader.readline()).partition(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise _Refused(400, "Malformed chunk size") from None
            if size < 0:
                raise _Refused(400, "Malformed chunk size")
            if not size:
                while (await reader.readline()) not in (b"\r\n", b"\n", b""):
                    pass
                return bytes(body)
            self._check_size(len(body) + size)
            body += await reader.readexactly(size)
            await reader.readexactly(2)

    def _unpack(self, body: bytes) -> bytes:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            unpacked = unpacker.decompress(body, self._limits.max_body + 1)
        except zlib.error:
            raise _Refused(400, "Failed to decompress the gzip body") from None
        self._check_size(len(unpacked))
        return unpacked

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_body:
            raise _Refused(413, f"Request body of {size} bytes is above the limit of {self._limits.max_body}")

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer, keep_alive: bool) -> None:
        reason = HTTPStatus(answer.code).phrase if answer.code in set(HTTPStatus) else "Error"
        head = (
            f"HTTP/1.1 {answer.code} {reason}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n{_CORS if self._cors else ''}\r\n"
        )
        writer.write(head.encode() + answer.body)
        await asyncio.wait_for(writer.drain(), self._limits.timeout_s)


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    try:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        headers = {}
        for line in lines:
            if line:
                name, colon, value = line.partition(":")
                if not colon:
                    raise ValueError(line)
                headers[name.strip().lower()] = value.strip()
    except ValueError:
        raise _Refused(400, "Malformed HTTP request") from None
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise _Refused(505, f"Unsupported protocol {version[:20]}")
    return method, target, version, headers
