"""A few messages for the tests of the gateway: functions called by id, as `rpc` does."""

from __future__ import annotations

import asyncio

import msgspec

from palestra.core.errors import Internal, InvalidArgument, PalestraError
from palestra.gateway.operation import Call, Message, Session
from palestra.gateway.push import RawPush


class Rpc(msgspec.Struct, omit_defaults=True):
    id: str = ""
    payload: str = ""
    http_key: str = ""


class Status(msgspec.Struct):
    status: str | None = None


class Numbers(msgspec.Struct):
    ticket: str = ""
    min_count: int = 0


class Data(msgspec.Struct):
    party_id: str = ""
    op_code: int = 0
    data: str = ""


class Odd(PalestraError):
    """An error with a number of its own."""

    socket_code = 6


class Talk:
    """Handlers that can be held back and that note what they were asked."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.seen: list[str] = []
        self.at_gate = asyncio.Event()
        self.rpc = Message("rpc.call", "rpc", Rpc, self._call)
        self.direct = Message(
            "parties.send",
            "party_data_send",
            Data,
            self._data,
            replies=False,
            direct=self._direct,
            direct_binary=self._direct,
        )
        self.messages = [
            self.rpc,
            self.direct,
            Message("status.update", "status_update", Status, self._status),
            Message("matchmaker.remove", "matchmaker_remove", Numbers, self._status),
        ]

    async def _status(self, call: Call, request: msgspec.Struct) -> None:
        return None

    def _direct(self, session: Session, payload: bytes) -> bool:
        self.seen.append("direct")
        return b"general" not in payload

    async def _data(self, call: Call, request: Data) -> None:
        self.seen.append(request.party_id)

    async def _call(self, call: Call, request: Rpc) -> tuple[str, Rpc]:
        self.seen.append(request.id)
        assert call.session is not None
        if request.id == "wait":
            self.at_gate.set()
            await self.gate.wait()
        elif request.id == "later":
            call.session.after_reply(lambda: call.session.send(RawPush(b'{"status":{}}')) if call.session else None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        elif request.id == "bad":
            raise InvalidArgument("bad input")
        elif request.id == "odd":
            raise Odd("odd")
        elif request.id == "broken":
            raise Internal("storage is broken")
        elif request.id == "bug":
            raise ZeroDivisionError
        return "rpc", Rpc(request.id, request.payload)
