"""Sessions of other nodes, as features of this node see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from palestra.features.streams.contract import Presence, Stream
from palestra.gateway.operation import Caller, Session
from palestra.gateway.push import Push


class Link(Protocol):
    """The way to the other nodes, as the engine and sessions of other nodes use it."""

    def deliver(self, session: RemoteSession, push: Push) -> None:
        """Send an envelope to a session of another node, in order."""
        ...

    def deliver_stream(self, stream: Stream, push: Push, nodes: Iterable[str]) -> None:
        """Send an envelope to whoever of these nodes is on a stream."""
        ...

    def joined(self, stream: Stream, presence: Presence, node: str) -> None:
        """A session was put on a stream here. With a `node`, it is one of that node, which is to do so as well."""
        ...

    def left(self, stream: Stream, session_id: str, node: str) -> None:
        """A session was taken off a stream here."""
        ...

    def updated(self, stream: Stream, presence: Presence, node: str) -> None:
        """A presence shows something else."""
        ...

    def closed(self, stream: Stream) -> None:
        """Everybody was taken off a stream, and nobody is to be told."""
        ...

    def pass_on(self, session_id: str, push: Push) -> None:
        """Send a session what was on its way here when it moved, before what is sent to it since."""
        ...

    def end(self, session: RemoteSession, reason: str) -> None:
        """Close a session of another node."""
        ...


class RemoteSession:
    """Implements `Session`. What is done to it here is done there by its own node, in order.

    `caller` has user id and username; the rest of it, `language` and `client_ip` are there once the session has had a
    message forwarded to this node.

    A session that has been on this node, or is by now, has another face, `socket`: while `node` is "" whatever is done
    here is done to that.
    """

    away = False

    __slots__ = (
        "_after",
        "_link",
        "caller",
        "client_ip",
        "closing",
        "former",
        "given",
        "id",
        "language",
        "moves",
        "node",
        "socket",
    )

    def __init__(self, node: str, id: str, caller: Caller, link: Link) -> None:
        self.node = node
        self.id = id
        self.caller = caller
        self.language = "en"
        self.client_ip = ""
        self.closing = False
        self.moves = 0
        self.socket: Session | None = None
        self.former = ""
        """The node it came from, until that has said that it gave it away."""
        self.given = False
        """Whether its node has said that it gave it away, and the other has not yet said that it has it."""
        self._link = link
        self._after: list[Callable[[], None]] | None = None

    @property
    def here(self) -> Session | None:
        """The socket, if the session is on this node by now."""
        return None if self.node else self.socket

    def send(self, push: Push) -> None:
        """Queue one envelope. Hot: see the relay bench of several nodes."""
        if not self.node and self.socket is not None:
            self.socket.send(push)
        elif not self.closing:
            self._link.deliver(self, push)

    def after_reply(self, callback: Callable[[], None]) -> None:
        """Call back once the forwarded message in hand is answered; with none in hand, when the loop is next free."""
        if (here := self.here) is not None:
            here.after_reply(callback)
        elif self._after is None:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._after.append(callback)

    def close(self, reason: str) -> None:
        """Close the session where it is."""
        if (here := self.here) is not None:
            here.close(reason)
        elif not self.closing:
            self._link.end(self, reason)

    def begin_message(self) -> None:
        """A message of this session has come to be handled here.

        It sends one after the other; if it has given up waiting for one, what was to follow that follows now.
        """
        self.end_message()
        self._after = []

    def end_message(self) -> None:
        """The message is answered."""
        callbacks, self._after = self._after, None
        for callback in callbacks or ():
            callback()
