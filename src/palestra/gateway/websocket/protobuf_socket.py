"""A socket that speaks Protobuf: binary frames both ways, everything else as on any socket."""

from __future__ import annotations

from typing import Any

from picows import WSMsgType

from palestra.gateway.operation import Message
from palestra.gateway.push import Push
from palestra.gateway.websocket.socket import Socket


class ProtobufSocket(Socket):
    """A player's connection in Protobuf."""

    kind = WSMsgType.BINARY
    format = "protobuf"

    __slots__ = ()

    def send(self, push: Push) -> None:
        """Queue one envelope."""
        self.send_frame(push.binary or push.make_binary(self._gateway.protobuf), push)

    def _answer(self, envelope: bytes) -> None:
        self.send_frame(self._gateway.protobuf.frame(envelope))

    def _at_once(self, payload: bytes) -> bool:
        # The tag of the envelope's member comes first, unless there is a cid; it takes one byte or two.
        direct = self._gateway.direct_binary
        message = direct.get(payload[:1]) or direct.get(payload[:2])
        if message is None or message.before is not None or message.after is not None:
            return False
        if not message.direct_binary(self, payload):
            return False
        message.stats.by_code[0] += 1
        return True

    def _decode(self, payload: bytes) -> tuple[str, str, Message | None, Any]:
        gateway = self._gateway
        return gateway.envelopes.read(gateway.protobuf.decode(payload))
