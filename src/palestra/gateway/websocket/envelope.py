"""Envelopes: one JSON object with an optional `cid` and exactly one member that names the message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from palestra.core.errors import Code, PalestraError
from palestra.gateway.dispatch import Disabled, HookFailed
from palestra.gateway.fields import BadInput, RequestDecoder, camel, parse
from palestra.gateway.operation import Empty, Message

PING = "ping"
PONG = "pong"
MEMBERS = (
    "channel",
    "channel_join",
    "channel_leave",
    "channel_message",
    "channel_message_ack",
    "channel_message_send",
    "channel_message_update",
    "channel_message_remove",
    "channel_presence_event",
    "error",
    "match",
    "match_create",
    "match_data",
    "match_data_send",
    "match_join",
    "match_leave",
    "match_presence_event",
    "matchmaker_add",
    "matchmaker_matched",
    "matchmaker_remove",
    "matchmaker_ticket",
    "notifications",
    "rpc",
    "status",
    "status_follow",
    "status_presence_event",
    "status_unfollow",
    "status_update",
    "stream_data",
    "stream_presence_event",
    "ping",
    "pong",
    "party",
    "party_create",
    "party_join",
    "party_leave",
    "party_promote",
    "party_leader",
    "party_accept",
    "party_remove",
    "party_close",
    "party_join_request_list",
    "party_join_request",
    "party_matchmaker_add",
    "party_matchmaker_remove",
    "party_matchmaker_ticket",
    "party_data",
    "party_data_send",
    "party_presence_event",
    "party_update",
)
"""Every member an envelope may have, whichever side sends it and whether or not this node serves it."""

FAILED, UNRECOGNIZED, MISSING, BAD_INPUT, HOOK_FAILED = 0, 1, 2, 3, 7
_INTERNAL = frozenset(
    (
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    )
)

encode = msgspec.json.Encoder().encode


class Rejected(Exception):
    """An envelope that is answered by an error, which ends the socket: `code`, `message`, the `cid` it came with."""

    def __init__(self, cid: str, code: int, message: str) -> None:
        super().__init__(message)
        self.cid = cid
        self.code = code
        self.message = message


class ErrorMember(msgspec.Struct, omit_defaults=True):
    """The `error` member of a reply."""

    code: int = 0
    message: str = ""


class Envelopes:
    """Decodes what clients send: names the message and builds its request."""

    def __init__(self, messages: Iterable[Message]) -> None:
        empty = RequestDecoder(Empty, strict=True)
        self._members: dict[str, tuple[str, Message | None, RequestDecoder]] = {}
        for name in MEMBERS:
            self._members[name] = self._members[camel(name)] = (name, None, empty)
        for message in messages:
            decoder = RequestDecoder(message.request, strict=True)
            entry = (message.key, message, decoder)
            self._members[message.key] = self._members[camel(message.key)] = entry

    def decode(self, payload: bytes) -> tuple[str, str, Message | None, Any]:
        """(cid, member, message, request); message is None for ping and pong.

        Raises BadInput when it is no envelope, and Rejected when it is one that asks for nothing we do.
        """
        return self.read(parse(payload, strict=True))

    def read(self, pairs: Any) -> tuple[str, str, Message | None, Any]:
        """The same for an envelope in the form that `parse` delivers."""
        if type(pairs) is not tuple:
            raise BadInput("syntax error: an envelope is an object")
        cid = ""
        found: tuple[str, Message | None, RequestDecoder] | None = None
        content: Any = None
        seen: set[str] = set()
        for name, value in pairs:
            entry = self._members.get(name)
            if entry is None and name != "cid":
                raise BadInput(f'unknown field "{name[:60]}"')
            key = entry[0] if entry is not None else name
            if key in seen:
                raise BadInput(f'duplicate field "{key}"')
            seen.add(key)
            if value is None:
                continue
            if entry is None:
                if type(value) is not str:
                    raise BadInput("invalid value for string field cid")
                cid = value
            elif found is not None:
                raise BadInput("an envelope holds one message")
            else:
                found, content = entry, value
        if found is None:
            raise Rejected(cid, MISSING, "Missing message.")
        key, message, decoder = found
        if message is None and key not in (PING, PONG):
            if type(content) is not tuple:
                raise BadInput(f"invalid value for field {key}")
            raise Rejected(cid, UNRECOGNIZED, "Unrecognized message.")
        return cid, key, message, decoder.pairs(content)


def reply_of(cid: str, answer: tuple[str, msgspec.Struct] | None) -> bytes | None:
    """The envelope that answers a request; None when it would be empty."""
    if answer is None:
        return b'{"cid":%b}' % encode(cid) if cid else None
    key, member = answer
    if cid:
        return b'{"cid":%b,"%b":%b}' % (encode(cid), key.encode(), encode(member))
    return b'{"%b":%b}' % (key.encode(), encode(member))


def error_of(cid: str, code: int, message: str) -> bytes:
    """The envelope of an error."""
    return reply_of(cid, ("error", ErrorMember(code, message))) or b""


def socket_code(error: PalestraError) -> int:
    """The error's number on the socket: its own `socket_code` where its class says one, else by what kind it is."""
    if isinstance(error, HookFailed):
        return HOOK_FAILED
    if isinstance(error, Disabled):
        return UNRECOGNIZED
    given = getattr(error, "socket_code", None)
    if given is not None:
        return given
    return FAILED if error.code in _INTERNAL else BAD_INPUT
