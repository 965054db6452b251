"""One exception for everything that a caller is told: a gRPC status code and the real server's text."""

from __future__ import annotations

import grpc

_MAX_CHARS = 1024
_TRUNCATED = "...TRUNCATED"
_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request or a load that fails with a status code and a text.

    Attributes:
        code: a `grpc.StatusCode`.
        message: the full text; `wire_message` is what fits a gRPC status.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def wire_message(self) -> str:
        """The text as TensorFlow Serving sends it over gRPC: cut at 1,024 characters."""
        if len(self.message) <= _MAX_CHARS:
            return self.message
        return self.message[:_MAX_CHARS] + _TRUNCATED

    @property
    def number(self) -> int:
        """The code as an integer, e.g. 3 for INVALID_ARGUMENT."""
        return int(self.code.value[0])

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid_argument(message: str) -> ServingError:
    """An INVALID_ARGUMENT error with this text."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """A NOT_FOUND error with this text."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """A FAILED_PRECONDITION error with this text."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> ServingError:
    """An UNIMPLEMENTED error with this text."""
    return ServingError(grpc.StatusCode.UNIMPLEMENTED, message)


def code_of(number: int) -> grpc.StatusCode:
    """The status code with this number; UNKNOWN for a number that gRPC does not have."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def from_exception(error: Exception) -> ServingError:
    """Turns what TensorFlow or the file system raised into a `ServingError`.

    TensorFlow's errors carry their code (`OpError.error_code`) and keep their text; a missing file is
    NOT_FOUND, any other operating system error UNAVAILABLE, anything else UNKNOWN.
    """
    if isinstance(error, ServingError):
        return error
    number = getattr(error, "error_code", None)
    if isinstance(number, int):
        return ServingError(code_of(number), str(getattr(error, "message", error)))
    if isinstance(error, FileNotFoundError):
        return ServingError(grpc.StatusCode.NOT_FOUND, str(error))
    if isinstance(error, OSError):
        return ServingError(grpc.StatusCode.UNAVAILABLE, str(error))
    return ServingError(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")
