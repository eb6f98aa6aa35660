"""Match messages of the socket: decode, call, encode."""

from __future__ import annotations

from binascii import a2b_base64

from palestra.core.ids import parse_id
from palestra.features.matches import wire
from palestra.features.matches.contract import Joined, NoMatchNamed
from palestra.features.matches.rules import plain_data, plain_data_binary, split_match_id
from palestra.features.matches.service import MatchesService
from palestra.gateway.fields import BadInput, canonical_base64
from palestra.gateway.operation import Call, Session

Reply = tuple[str, wire.Match]


class MatchesMessages:
    """What players may ask of matches over their socket."""

    def __init__(self, service: MatchesService) -> None:
        self._service = service

    async def create(self, call: Call, request: wire.MatchCreate) -> Reply:
        """match_create."""
        joined = self._service.create_relayed(call.connection, request.name)
        return _match(joined, len(joined.everybody))

    async def join(self, call: Call, request: wire.MatchJoin) -> Reply:
        """match_join, by id or by token."""
        if request.match_id is not None and request.token is not None:
            raise BadInput("a match is named by match_id or by token, not both")
        if request.match_id is not None:
            joined = await self._service.join(call.connection, request.match_id, request.metadata)
        elif request.token is not None:
            joined = await self._service.join_by_token(call.connection, request.token, request.metadata)
        else:
            raise NoMatchNamed
        return _match(joined, len(joined.everybody) - joined.new)

    async def leave(self, call: Call, request: wire.MatchLeave) -> None:
        """match_leave."""
        self._service.leave(call.connection, request.match_id)

    async def send(self, call: Call, request: wire.MatchDataSend) -> None:
        """match_data_send in any of its forms."""
        content = canonical_base64(request.data, "data")
        match, node = split_match_id(request.match_id)
        if node:
            data = a2b_base64(content)
            self._service.receive(call.connection, match, node, request.op_code, data, request.reliable)
            return
        only: list[str] | None = None
        if request.presences:
            try:
                only = [parse_id(target.session_id) for target in request.presences if parse_id(target.user_id)]
            except ValueError:
                return
        op_code = b"%d" % request.op_code
        self._service.relay(call.connection, match, op_code, content, reliable=request.reliable, only=only)

    def send_plain(self, session: Session, payload: bytes) -> bool:
        """match_data_send in the form nearly all have, straight from the bytes. Hot: see the relay bench."""
        parts = plain_data(payload)
        if parts is None:
            return False
        match, node, op_code, data, reliable = parts
        name = match.decode("latin-1")
        if node:
            content = a2b_base64(data)
            return self._service.receive(session, name, node.decode("latin-1"), int(op_code), content, bool(reliable))
        return self._service.relay(session, name, op_code, data, reliable=bool(reliable), only=None)

    def send_plain_binary(self, session: Session, payload: bytes) -> bool:
        """The same in Protobuf."""
        parts = plain_data_binary(payload)
        if parts is None:
            return False
        match, node, op_code, data, reliable = parts
        name = match.decode("latin-1")
        if node:
            return self._service.receive(session, name, node.decode("latin-1"), op_code, data, reliable)
        return self._service.relay(session, name, b"%d" % op_code, data, raw=True, reliable=reliable, only=None)


def _match(joined: Joined, size: int) -> Reply:
    own = joined.own.session_id if joined.new else ""
    shown = [one for one in joined.everybody if one.session_id != own]
    return "match", wire.Match(
        joined.match_id,
        joined.label is not None,
        joined.label,
        size,
        [wire.user_presence(one) for one in shown],
        wire.user_presence(joined.own),
    )
