"""The errors a caller may expect, each with a stable code; the gateway turns codes into HTTP statuses."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """Stable error codes, numbered as gRPC statuses are; clients branch on them."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class PalestraError(Exception):
    """An expected failure: a stable `code`, a message that says what to do. Features subclass it in their contract."""

    code: Code = Code.INTERNAL

    def __init__(self, message: str = "", *, code: Code | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidArgument(PalestraError):
    """The request itself is wrong; sending it again changes nothing."""

    code = Code.INVALID_ARGUMENT


class NotFound(PalestraError):
    """The thing asked for does not exist."""

    code = Code.NOT_FOUND


class AlreadyExists(PalestraError):
    """A unique thing, such as a username, is taken."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(PalestraError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class FailedPrecondition(PalestraError):
    """The request is well formed but the present state or configuration forbids it."""

    code = Code.FAILED_PRECONDITION


class Unauthenticated(PalestraError):
    """The caller could not be identified."""

    code = Code.UNAUTHENTICATED


class Internal(PalestraError):
    """An outcome that is this platform's fault; details are in the log, not in the answer."""

    code = Code.INTERNAL


class Overloaded(PalestraError):
    """A limit was reached; nothing was done, and trying again later is safe."""

    code = Code.RESOURCE_EXHAUSTED


class DeadlineExceeded(PalestraError):
    """The work took longer than it may."""

    code = Code.DEADLINE_EXCEEDED


class Unavailable(PalestraError):
    """Something this node depends on is away; the same request may succeed after `retry_after_seconds`."""

    code = Code.UNAVAILABLE

    def __init__(self, message: str = "Service unavailable, try again.", *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(Unavailable):
    """The connection died while the work was in flight: it may or may not have been done."""


class GameError(PalestraError):
    """What game code raises to refuse a request: the text and code reach the client.

    `code` is a number of `Code` or its name in any case ("invalid_argument"); anything else counts as internal (13).
    """

    def __init__(self, message: str, code: int | str = Code.INTERNAL) -> None:
        # Game code builds messages from whatever it was given; what cannot be written as UTF-8 cannot be sent.
        super().__init__(str(message).encode("utf-8", "replace").decode(), code=_code_of(code))


def _code_of(code: int | str) -> Code:
    if isinstance(code, str):
        return Code.__members__.get(code.upper(), Code.INTERNAL)
    return Code(code) if 1 <= code <= 16 else Code.INTERNAL


class SetupError(Exception):
    """Something is wrong with this machine or its settings; the message says what to do, without a traceback."""
