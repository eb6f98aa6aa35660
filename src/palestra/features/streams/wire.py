"""What streams look like in envelopes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from palestra.features.streams.contract import Presence, Stream
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import Push


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


def stream_data(stream: Stream, data: str) -> Push:
    """Text sent by the server to a stream."""
    return Push("stream_data", StreamData(stream_name(stream), data, True))
