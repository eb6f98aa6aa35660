"""Messages of sockets that another node has to deal with: handled there as if the socket were there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from palestra.cluster.bus import ANSWER_SECONDS
from palestra.cluster.calls import Calls
from palestra.features.streams.contract import UnknownSession
from palestra.features.streams.replication import Replication
from palestra.gateway.operation import Caller, Session
from palestra.gateway.push import Push

T = TypeVar("T")


class _Forwarded(msgspec.Struct, array_like=True):
    session_id: str
    caller: Caller
    language: str
    client_ip: str
    request: msgspec.Raw


class Forwarding:
    """Hands a message of a session on to the node that owns what it is about.

    There it is handled with a `RemoteSession`: what it is sent, and what is to follow the reply, reaches the client
    after the reply and in order, as on one node.
    """

    def __init__(self, calls: Calls, others: Replication) -> None:
        self._calls = calls
        self._others = others

    def serve(self, name: str, request: Any, handler: Callable[[Session, Any], Awaitable[Any]]) -> None:
        """Handle messages `name` of other nodes' sessions by `handler(session, request)`."""
        decode = msgspec.msgpack.Decoder(request).decode

        async def handle(sender: str, forwarded: _Forwarded) -> Any:
            session = self._others.remote.get(forwarded.session_id)
            if session is None or session.closing:
                raise UnknownSession
            session.caller = forwarded.caller
            session.language, session.client_ip = forwarded.language, forwarded.client_ip
            session.begin_message()
            try:
                return await handler(session, decode(forwarded.request))
            finally:
                # The answer is on its way to the bus before the loop turns: nothing waits in between.
                asyncio.get_running_loop().call_soon(session.end_message)

        self._calls.serve(name, _Forwarded, handle)

    async def call(
        self, session: Session, node: str, name: str, request: Any, answer: type[T], seconds: float = ANSWER_SECONDS
    ) -> T:
        """Have `node` handle a message of one of our sessions. Raises as `Calls.call`."""
        forwarded = _Forwarded(
            session.id,
            session.caller,
            session.language,
            session.client_ip,
            msgspec.Raw(msgspec.msgpack.encode(request)),
        )
        self._others.forwarding.add(session.id)
        try:
            return await self._calls.call(node, name, forwarded, answer, seconds)
        finally:
            self._others.forwarding.discard(session.id)

    def send(self, session: Session, push: Push) -> None:
        """Send to a session, after the reply if another node handles its message."""
        self._others.send(session, push)
