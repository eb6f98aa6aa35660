"""The door from HTTP to sockets: a part of the HTTP protocol class that hands accepted handshakes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palestra.gateway.websocket.handshake import PATH, Accepted

if TYPE_CHECKING:
    from palestra.gateway.websocket.gateway import SocketGateway


class UpgradeMixin:
    """Goes before uvicorn's `HttpToolsProtocol`. Without a gateway, and on every other path, an upgrade is not offered:
    the request is then answered as any other.
    """

    sockets: SocketGateway | None = None

    transport: Any
    client: Any
    connections: set[Any]
    scope: Any
    url: bytes
    parser: Any

    def _should_upgrade_to_ws(self) -> bool:
        return self.sockets is not None and self.url.partition(b"?")[0] == PATH

    def _unsupported_upgrade_warning(self) -> None:
        """What clients ask for in vain is not worth a line in the log."""

    def handle_websocket_upgrade(self) -> None:
        """Refuse with a plain answer, or hand the connection over."""
        assert self.sockets is not None
        headers = self.scope["headers"]
        verdict = self.sockets.check(self.scope["method"], self.url.partition(b"?")[2], headers)
        if isinstance(verdict, Accepted):
            self.connections.discard(self)
            # The parser and this protocol hold each other; nobody needs either any more.
            self.parser = None
            self.sockets.upgrade(self.transport, verdict, headers, self.client[0] if self.client else "")
            self.handed_over()
        else:
            self.transport.write(verdict.whole())
            self.transport.close()

    def handed_over(self) -> None:
        """Called when the connection belongs to a socket: this protocol will hear no more of it."""
