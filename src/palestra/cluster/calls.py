"""Functions of other nodes, called over the bus: typed requests and answers, and errors that stay what they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from palestra.cluster.bus import ANSWER_SECONDS, Bus
from palestra.core.errors import Code, PalestraError, Unavailable

Handler = Callable[[str, Any], Awaitable[Any]]
"""Is given the name of the asking node and the request; what it returns is the answer, None for an empty one."""

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class _Failure(msgspec.Struct, array_like=True):
    kind: str
    code: int
    message: str
    retry_after_seconds: float


class _Outcome(msgspec.Struct, array_like=True):
    answer: msgspec.Raw
    failure: _Failure | None = None


_outcome = msgspec.msgpack.Decoder(_Outcome).decode
_NOTHING = msgspec.Raw(_encode(None))


class Calls:
    """Serves and makes calls between nodes. A name is served once, at start."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def serve(self, name: str, request: Any, handler: Handler) -> None:
        """Answer calls of `name` whose requests are of type `request`."""
        decode = msgspec.msgpack.Decoder(request).decode

        async def answer(sender: str, payload: bytes) -> bytes:
            try:
                return _encode(_Outcome(msgspec.Raw(_encode(await handler(sender, decode(payload))))))
            except PalestraError as error:
                seconds = error.retry_after_seconds if isinstance(error, Unavailable) else 0.0
                failure = _Failure(type(error).__qualname__, int(error.code), error.message, seconds)
                return _encode(_Outcome(_NOTHING, failure))

        self._bus.answer(name, answer)

    async def call(self, node: str, name: str, request: Any, answer: type[T], seconds: float = ANSWER_SECONDS) -> T:
        """Call a function of another node, or of this one.

        Raises what it raised there, `Unreachable` when the node does not answer in time (it may have done the work),
        Unavailable when it does not serve that name.
        """
        outcome = _outcome(await self._bus.ask(node, name, _encode(request), seconds))
        if outcome.failure is not None:
            raise _error_of(outcome.failure)
        return msgspec.msgpack.decode(outcome.answer, type=answer)


def _error_of(failure: _Failure) -> PalestraError:
    """The error of another node, of its own kind where this node has it, so that callers can tell it apart."""
    # Without its constructor, which has parameters of its own.
    kind = next((one for one in _kinds(PalestraError) if one.__qualname__ == failure.kind), PalestraError)
    error = kind.__new__(kind)
    PalestraError.__init__(error, failure.message, code=Code(failure.code))
    if isinstance(error, Unavailable):
        error.retry_after_seconds = failure.retry_after_seconds
    return error


def _kinds(kind: type[PalestraError]) -> Iterator[type[PalestraError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)
