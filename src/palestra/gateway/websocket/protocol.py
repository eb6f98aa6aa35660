"""The frame parser under a socket: picows, quiet, with small buffers, put to work once a handshake was accepted."""

from __future__ import annotations

from typing import Any

from picows import WSAutoPingStrategy, WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # pyright: ignore[reportAttributeAccessIssue]

from palestra.core.log import get_logger

log = get_logger(__name__)

READ_BUFFER_BYTES = 2_048


class _Quiet:
    """The logger the parser wants: what clients do wrong is not worth a line, what we do wrong is."""

    def isEnabledFor(self, level: int) -> bool:
        return False

    def _ignore(self, *arguments: Any) -> None:
        pass

    log = debug = info = warning = error = _ignore

    def exception(self, message: str, *arguments: Any) -> None:
        log.error("socket parser failed", detail=message % arguments if arguments else message, exc_info=True)


_QUIET = _Quiet()


class SocketProtocol(WSProtocol):
    """A socket's bytes. `listener` gets the frames."""

    __slots__ = ()

    def __init__(self, listener: WSListener, message_bytes_max: int) -> None:
        super().__init__(
            None,
            None,
            False,
            lambda _request: WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), listener),
            _QUIET,
            True,
            None,
            False,
            None,
            None,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,
            message_bytes_max,
            None,
            READ_BUFFER_BYTES,
        )

    def data_received(self, data: bytes) -> None:
        """Take bytes that were read before this protocol took over."""
        while data:
            room = self.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.buffer_updated(size)
            data = data[size:]


def upgrade_request(key: bytes) -> bytes:
    """The least request that the parser takes for a handshake: it keeps the request, so it gets no more than that."""
    return (
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n\r\n" % key
    )
