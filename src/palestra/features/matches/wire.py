"""What matches look like on the wire."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

import msgspec

from palestra.features.matches.contract import MatchInfo
from palestra.features.matches.rules import RELAYED_NODE
from palestra.features.streams.contract import Member, Presence, Stream
from palestra.gateway.fields import Int32, Int64
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import BinaryFormat, Push
from palestra.gateway.websocket.frames import binary_frame_of
from palestra.gateway.websocket.protobuf import delimited, tag_of, varint

encode = msgspec.json.Encoder().encode
_MATCH_DATA = tag_of("match_data")


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


class MatchDataSend(msgspec.Struct):
    """Request of match_data_send; `data` is base64."""

    match_id: str = ""
    op_code: Int64 = 0
    data: str = ""
    presences: list[UserPresence] = []
    reliable: bool = False


class ListMatches(msgspec.Struct):
    """Query of the listing."""

    limit: Int32 | None = None
    authoritative: bool | None = None
    label: str | None = None
    min_size: Int32 | None = None
    max_size: Int32 | None = None
    query: str | None = None


class Match(msgspec.Struct, omit_defaults=True):
    """The `match` reply to create and join."""

    match_id: str
    authoritative: bool = False
    label: str | None = None
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
    authoritative: bool = False
    label: str | None = None
    size: int = 0
    tick_rate: int = 0
    handler_name: str = ""


class MatchList(msgspec.Struct, omit_defaults=True):
    """A listing."""

    matches: list[ListedMatch] = []


def user_presence(presence: Presence) -> UserPresence:
    """A presence in match messages."""
    return UserPresence(presence.user_id, presence.session_id, presence.username)


def listed(info: MatchInfo) -> ListedMatch:
    """A match in a listing."""
    return ListedMatch(info.match_id, info.authoritative, info.label, info.size, info.tick_rate, info.handler_name)


def match_id_of(stream: Stream) -> str:
    """The id clients use for the match of a stream."""
    return f"{stream.subject}.{stream.label or RELAYED_NODE}"


def match_presence_event(stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]) -> Push:
    """The presence event of a match."""
    event = MatchPresenceEvent(
        match_id_of(stream), [user_presence(one) for one in joins], [user_presence(one) for one in leaves]
    )
    return Push("match_presence_event", event)


class Origin:
    """Where match_data comes from: a member, or the match itself. Keeps what all its envelopes begin with."""

    __slots__ = ("_presence", "_stream", "binary", "text")

    def __init__(self, stream: Stream, presence: Presence | None) -> None:
        self._stream = stream
        self._presence = presence
        self.text = self.binary = b""

    def make_text(self) -> bytes:
        """The beginning in JSON."""
        presence = b"" if self._presence is None else b',"presence":%b' % encode(user_presence(self._presence))
        self.text = b'{"match_data":{"match_id":%b%b' % (encode(match_id_of(self._stream)), presence)
        return self.text

    def make_binary(self) -> bytes:
        """The beginning in Protobuf: fields 1 and 2 of the member."""
        self.binary = delimited(b"\x0a", match_id_of(self._stream).encode())
        if (one := self._presence) is not None:
            texts = zip((b"\x0a", b"\x12", b"\x1a"), (one.user_id, one.session_id, one.username), strict=True)
            self.binary += delimited(b"\x12", b"".join(delimited(tag, text.encode()) for tag, text in texts))
        return self.binary


def origin_of(stream: Stream, member: Member) -> Origin:
    """Where a member's data comes from; kept with the member."""
    if member.encoded is None:
        member.encoded = Origin(stream, member.presence)
    return member.encoded


class MatchData(Push):
    """A match_data envelope, encoded by hand. Hot: see the relay bench.

    `op_code` is canonical decimal. `data` is canonical base64, or with `raw` the bytes themselves: one is turned into
    the other only for receivers of the other format.
    """

    __slots__ = ("_data", "_op_code", "_origin", "_raw")

    def __init__(self, origin: Origin, op_code: bytes, data: bytes, *, raw: bool, reliable: bool) -> None:
        self._origin = origin
        self._op_code = op_code
        self._data = data
        self._raw = raw
        self.droppable = not reliable
        self.text = self.binary = b""

    def envelope(self) -> bytes:
        """The envelope as JSON text."""
        origin, op_code, data = self._origin, self._op_code, self._data
        if self._raw:
            data = b2a_base64(data, newline=False)
        op = b',"op_code":"%b"' % op_code if op_code != b"0" else b""
        body = b',"data":"%b"' % data if data else b""
        return (origin.text or origin.make_text()) + op + body + (b"}}" if self.droppable else b',"reliable":true}}')

    def make_binary(self, binary: BinaryFormat) -> bytes:
        """Encode for sockets that speak Protobuf."""
        origin = self._origin
        op_code = int(self._op_code)
        op = b"\x18" + varint(op_code) if op_code else b""
        body = delimited(b"\x22", self._data if self._raw else a2b_base64(self._data))
        data = (origin.binary or origin.make_binary()) + op + body + (b"" if self.droppable else b"\x28\x01")
        self.binary = binary_frame_of(delimited(_MATCH_DATA, data))
        return self.binary
