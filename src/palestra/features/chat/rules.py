"""Pure decisions about chat: which ids name a channel, what a page of history holds, what a cursor means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.chat.contract import (
    CONTENT_BYTES_MAX,
    BadChannelId,
    BadContent,
    BadCursor,
    BadKind,
    BadMessageId,
    BadSenderId,
    BadTarget,
    HistoryPage,
    Kind,
    Message,
)
from palestra.features.streams.contract import DIRECT, GROUP, ROOM, Stream

ROOM_NAME_BYTES_MAX = 64
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def channel_of(channel_id: str) -> Stream:
    """The channel that an id names. A room's name may hold dots. Raises BadChannelId."""
    parts = channel_id.split(".", 3)
    if len(parts) != 4:
        raise BadChannelId
    mode, subject, subcontext, label = parts
    if mode == str(ROOM) and not subject and not subcontext and _fits_room(label):
        return Stream(ROOM, label=label)
    try:
        if mode == str(GROUP) and not subcontext and not label:
            return Stream(GROUP, parse_id(subject))
        if mode == str(DIRECT) and not label:
            lower, higher = parse_id(subject), parse_id(subcontext)
            if lower <= higher:
                return Stream(DIRECT, lower, higher)
    except ValueError:
        pass
    raise BadChannelId


def channel_id(channel: Stream) -> str:
    """The id that names a channel."""
    return f"{channel.mode}.{channel.subject}.{channel.subcontext}.{channel.label}"


def _fits_room(name: str) -> bool:
    try:
        room(name)
    except BadTarget:
        return False
    return True


def room(name: str) -> Stream:
    """The room of a name. Raises BadTarget."""
    if not 1 <= len(name.encode(errors="replace")) <= ROOM_NAME_BYTES_MAX:
        raise BadTarget("Channel name is required and must be 1-64 chars")
    if any(letter < " " or letter == "\x7f" for letter in name):
        raise BadTarget("Channel name must not contain control chars")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise BadTarget("Channel name must only contain valid UTF-8 bytes")
    return Stream(ROOM, label=name)


def direct(one: str, two: str) -> Stream:
    """The direct channel of two players."""
    return Stream(DIRECT, min(one, two), max(one, two))


def kind_of(number: int) -> Kind:
    """The kind of channel asked for; 0 counts as a room. Raises BadKind."""
    try:
        return Kind(number or Kind.ROOM)
    except ValueError:
        raise BadKind from None


def checked_content(text: str) -> str:
    """Content that came as JSON text. Raises BadContent."""
    try:
        if not text.startswith("{") or len(text) > CONTENT_BYTES_MAX:
            raise BadContent
        _decode(text)
    except (ValueError, RecursionError):
        raise BadContent from None
    return text


def sender(sender_id: str) -> str:
    """The canonical id of a sender; none is the server. Raises BadSenderId."""
    try:
        return parse_id(sender_id) if sender_id else SYSTEM_USER
    except ValueError:
        raise BadSenderId from None


def content_text(content: Mapping[str, Any]) -> str:
    """Content as JSON text. Raises BadContent."""
    try:
        raw = _encode(content)
    except (TypeError, ValueError, RecursionError):
        raise BadContent from None
    if not raw.startswith(b"{") or len(raw) > CONTENT_BYTES_MAX:
        raise BadContent
    return raw.decode()


def message_id(text: str) -> str:
    """The canonical form of a message's id. Raises BadMessageId."""
    try:
        return parse_id(text)
    except ValueError:
        raise BadMessageId from None


class Position(msgspec.Struct, frozen=True):
    """Where a page ends."""

    created_at: datetime
    id: str


class HistoryCursor(msgspec.Struct, frozen=True, tag="messages"):
    """A position in a channel's history read in one direction; `ahead` leads on in it, otherwise back."""

    channel_id: str
    at: Position
    forward: bool
    ahead: bool


FIRST = Position(datetime(1970, 1, 1, tzinfo=UTC), SYSTEM_USER)
LAST = Position(datetime(9999, 1, 1, tzinfo=UTC), LAST_ID)


def history_start(channel_id: str, forward: bool, cursor: str) -> HistoryCursor:
    """Where a page starts. Raises BadCursor."""
    if not cursor:
        return HistoryCursor(channel_id, FIRST if forward else LAST, forward, ahead=True)
    try:
        found = open_cursor(cursor, HistoryCursor)
        at = Position(found.at.created_at.astimezone(UTC), parse_id(found.at.id))
    except (ValueError, OverflowError):
        raise BadCursor from None
    if (found.channel_id, found.forward) != (channel_id, forward):
        raise BadCursor
    return HistoryCursor(channel_id, at, forward, found.ahead)


def history_page(start: HistoryCursor, resumed: bool, found: Sequence[Message], limit: int) -> HistoryPage:
    """The page that follows `start`; `resumed` if that came from a cursor.

    `found` is what lies beyond, nearest first, one more than `limit` if there is more.
    """
    more = len(found) > limit
    shown = list(found[:limit])
    if not start.ahead:
        shown.reverse()

    def sealed(at: Position, *, forward: bool, ahead: bool) -> str:
        return seal_cursor(HistoryCursor(start.channel_id, at, forward, ahead))

    if not shown:
        return HistoryPage([], cacheable_cursor=sealed(start.at, forward=True, ahead=True) if resumed else "")
    first, last = (Position(one.created_at, one.id) for one in (shown[0], shown[-1]))
    # A page reached by going back has the page it was reached from behind it.
    on = more if start.ahead else True
    back = resumed if start.ahead else more
    return HistoryPage(
        shown,
        next_cursor=sealed(last, forward=start.forward, ahead=True) if on else "",
        prev_cursor=sealed(first, forward=start.forward, ahead=False) if back else "",
        cacheable_cursor=sealed(last, forward=True, ahead=True),
    )
