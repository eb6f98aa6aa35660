"""What matches look like on the wire."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from palestra.features.matches.rules import RELAYED_NODE
from palestra.features.streams.contract import Presence, Stream
from palestra.gateway.fields import Int32, Int64
from palestra.gateway.push import Push

encode = msgspec.json.Encoder().encode


class MatchCreate(msgspec.Struct):
    """Request of match_create."""

    name: str = ""


class MatchJoin(msgspec.Struct):
    """Request of match_join: one of `match_id` and `token`."""

    match_id: str | None = None
    token: str | None = None
    metadata: dict[str, str] = {}


class MatchLeave(msgspec.Struct):
    """Request of match_leave."""

    match_id: str = ""


class Target(msgspec.Struct):
    """A presence handed back by a client to say whom it means."""

    user_id: str = ""
    session_id: str = ""
    username: str = ""
    persistence: bool = False
    status: str | None = None


class MatchDataSend(msgspec.Struct):
    """Request of match_data_send; `data` is base64."""

    match_id: str = ""
    op_code: Int64 = 0
    data: str = ""
    presences: list[Target] = []
    reliable: bool = False


class ListMatches(msgspec.Struct):
    """Query of the listing."""

    limit: Int32 | None = None
    authoritative: bool | None = None
    label: str | None = None
    min_size: Int32 | None = None
    max_size: Int32 | None = None
    query: str | None = None


class UserPresence(msgspec.Struct, omit_defaults=True):
    """A presence as match messages show it."""

    user_id: str = ""
    session_id: str = ""
    username: str = ""


class Match(msgspec.Struct, omit_defaults=True):
    """The `match` reply to create and join."""

    match_id: str
    size: int = 0
    presences: list[UserPresence] = []
    own: UserPresence | None = msgspec.field(name="self", default=None)


class MatchPresenceEvent(msgspec.Struct, omit_defaults=True):
    """Who came to a match and who went."""

    match_id: str
    joins: list[UserPresence] = []
    leaves: list[UserPresence] = []


class ListedMatch(msgspec.Struct, omit_defaults=True):
    """One match of a listing."""

    match_id: str
    size: int = 0


class MatchList(msgspec.Struct, omit_defaults=True):
    """A listing."""

    matches: list[ListedMatch] = []


def user_presence(presence: Presence) -> UserPresence:
    """A presence in match messages."""
    return UserPresence(presence.user_id, presence.session_id, presence.username)


def match_id_of(stream: Stream) -> str:
    """The id clients use for the match of a stream."""
    return f"{stream.subject}.{stream.label or RELAYED_NODE}"


def match_presence_event(stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]) -> Push:
    """The presence event of a match."""
    event = MatchPresenceEvent(
        match_id_of(stream), [user_presence(one) for one in joins], [user_presence(one) for one in leaves]
    )
    return Push("match_presence_event", event)


def data_prefix(stream: Stream, presence: Presence) -> bytes:
    """The part of a match_data envelope that is the same for everything a member sends."""
    return b'{"match_data":{"match_id":%b,"presence":%b' % (
        encode(match_id_of(stream)),
        encode(user_presence(presence)),
    )


def data_envelope(prefix: bytes, op_code: bytes, data: bytes, reliable: bool) -> bytes:
    """A match_data envelope; `op_code` in canonical decimal, `data` in canonical base64, both as text."""
    op = b',"op_code":"%b"' % op_code if op_code != b"0" else b""
    body = b',"data":"%b"' % data if data else b""
    return prefix + op + body + (b',"reliable":true}}' if reliable else b"}}")
