"""Every error the client raises, as one tree.

RecommenderError
├── InvalidRequestError (ValueError)   what was asked cannot be sent: nothing left this process
├── InvalidResponseError               the server answered something that no such model answers
├── VersionMismatchError               vectors or scores of two model versions were about to be mixed
├── CircuitOpenError                   too many calls failed; no call is made for a moment
├── ClientClosedError                  the client was used after close()
└── RpcError                           the call failed; one class a gRPC status code:
    ├── CancelledError            ├── AlreadyExistsError        ├── UnimplementedError
    ├── UnknownError              ├── PermissionDeniedError     ├── InternalError
    ├── InvalidArgumentError      ├── ResourceExhaustedError    ├── UnavailableError
    ├── DeadlineExceededError     ├── FailedPreconditionError   ├── DataLossError
    └── NotFoundError             ├── AbortedError              └── UnauthenticatedError
                                  └── OutOfRangeError
"""

from __future__ import annotations

from typing import Any, ClassVar

import grpc


class RecommenderError(Exception):
    """Base of all errors of this client."""


class InvalidRequestError(RecommenderError, ValueError):
    """What was asked cannot be sent; the message names what came and what the model takes."""


class InvalidResponseError(RecommenderError):
    """The server's answer does not have the outputs, types or shapes that the call needs."""


class VersionMismatchError(RecommenderError):
    """Vectors of two models, or of two versions of one, were about to be compared."""


class CircuitOpenError(RecommenderError):
    """So many calls failed lately that none is made until the breaker's pause is over."""


class ClientClosedError(RecommenderError):
    """The client was used after `close()`."""


class RpcError(RecommenderError):
    """A call failed.

    Attributes:
        code: the gRPC status code.
        details: the server's or gRPC's own words.
        target: address of the server that was asked last.
        attempts: how often the call was tried.
    """

    code: ClassVar[Any] = None

    def __init__(self, details: str, target: str = "", attempts: int = 1) -> None:
        self.details = details
        self.target = target
        self.attempts = attempts
        super().__init__(details, target, attempts)

    def __str__(self) -> str:
        where = f" from {self.target}" if self.target else ""
        tries = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{self.code.name}{where}{tries}: {self.details or 'no details given'}"


class CancelledError(RpcError):
    """The call was cancelled, here or by the server."""

    code = grpc.StatusCode.CANCELLED


class UnknownError(RpcError):
    """The server failed without saying how."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgumentError(RpcError):
    """The server refuses the request as it is: wrong inputs, types or shapes."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceededError(RpcError):
    """The deadline of the call passed before an answer came."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFoundError(RpcError):
    """The server has no such model or version."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(RpcError):
    """What was to be made exists."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDeniedError(RpcError):
    """The caller is known and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhaustedError(RpcError):
    """The server is out of threads or quota, or a message is larger than allowed."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(RpcError):
    """The model has no such signature, or the server is not in the state that the call needs."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(RpcError):
    """The server gave the call up in favour of another."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(RpcError):
    """The request asks for something beyond the valid range."""

    code = grpc.StatusCode.OUT_OF_RANGE


class UnimplementedError(RpcError):
    """What listens at the target does not know this method: it is no TensorFlow Serving."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(RpcError):
    """Something inside the server or the transport broke."""

    code = grpc.StatusCode.INTERNAL


class UnavailableError(RpcError):
    """No server answered at the target: it is down, starting, or full."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLossError(RpcError):
    """Data was lost or spoilt beyond repair."""

    code = grpc.StatusCode.DATA_LOSS


class UnauthenticatedError(RpcError):
    """The server does not accept the caller's credentials."""

    code = grpc.StatusCode.UNAUTHENTICATED


BY_CODE: dict[Any, type[RpcError]] = {cls.code: cls for cls in RpcError.__subclasses__()}


def error_for(code: Any, details: str, target: str = "", attempts: int = 1) -> RpcError:
    """Returns the error of a gRPC status code; a code that is not known becomes an UnknownError."""
    return BY_CODE.get(code, UnknownError)(details, target, attempts)
