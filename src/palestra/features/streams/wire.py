"""What streams look like in envelopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from palestra.features.streams.contract import ENVELOPE_BYTES_MAX, BadEnvelope, BadText, Presence, Stream
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import Push, RawPush
from palestra.gateway.websocket.envelope import MEMBERS


class StreamName(msgspec.Struct, omit_defaults=True):
    """A stream as clients see it."""

    mode: int = 0
    subject: str = ""
    subcontext: str = ""
    label: str = ""


class StreamPresenceEvent(msgspec.Struct, omit_defaults=True):
    """Who came to a stream and who went."""

    stream: StreamName
    joins: list[UserPresence] = []
    leaves: list[UserPresence] = []


class StreamData(msgspec.Struct, omit_defaults=True):
    """Text that the server sends to a stream."""

    stream: StreamName
    data: str = ""
    reliable: bool = False


def user_presence(presence: Presence) -> UserPresence:
    """A presence in an event."""
    return UserPresence(presence.user_id, presence.session_id, presence.username, presence.persistence)


def stream_name(stream: Stream) -> StreamName:
    """The name of a stream."""
    return StreamName(stream.mode, stream.subject, stream.subcontext, stream.label)


def stream_presence_event(stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]) -> Push:
    """The event of a stream whose mode belongs to game modules."""
    event = StreamPresenceEvent(
        stream_name(stream), [user_presence(one) for one in joins], [user_presence(one) for one in leaves]
    )
    return Push("stream_presence_event", event)


def stream_data(stream: Stream, data: str, *, reliable: bool = True) -> Push:
    """Text sent by the server to a stream."""
    if len(data) > ENVELOPE_BYTES_MAX or len(data.encode()) > ENVELOPE_BYTES_MAX:
        raise BadText
    return Push("stream_data", StreamData(stream_name(stream), data, reliable), droppable=not reliable)


def envelope_of(envelope: Mapping[str, Any], *, reliable: bool = True) -> RawPush:
    """An envelope made by game code. Raises BadEnvelope."""
    names = list(envelope)
    if len(names) != 1 or names[0] not in MEMBERS or not isinstance(envelope[names[0]], Mapping | msgspec.Struct):
        raise BadEnvelope
    try:
        text = msgspec.json.encode(envelope)
    except (TypeError, ValueError, RecursionError):
        raise BadEnvelope from None
    if len(text) > ENVELOPE_BYTES_MAX:
        raise BadEnvelope
    return RawPush(text, droppable=not reliable)
