"""Channels as sockets use them: joining, leaving, and writing in those that the socket is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import msgspec

from palestra.core.errors import Overloaded, Unavailable
from palestra.core.events import EventBus
from palestra.core.tasks import Tasks
from palestra.features.chat import rules
from palestra.features.chat.addresses import Addresses
from palestra.features.chat.contract import (
    CHANNELS_PER_SESSION_MAX,
    PRESENCES_LISTED_MAX,
    BadChannelId,
    BadIdentifier,
    BadTarget,
    ConversationOpened,
    Message,
    NotJoined,
    NotPersisted,
    TooManyChannels,
)
from palestra.features.chat.service import ChatService
from palestra.features.chat.wire import channel_presence_event
from palestra.features.friends.contract import FriendBlocked
from palestra.features.groups.contract import GroupDeleted, Happening, MemberChanged
from palestra.features.streams.contract import DIRECT, GROUP, ROOM, Member, Presence, Presences, Stream
from palestra.gateway.operation import Session

CHANNEL_MODES = (ROOM, GROUP, DIRECT)
PARTINGS = (Happening.LEFT, Happening.KICKED, Happening.BANNED)


class Joined(msgspec.Struct, frozen=True):
    """A session in a channel: its own presence, and whom else it is shown; on a repeated join itself as well."""

    channel: Stream
    own: Presence
    shown: Sequence[Member]


class _Asking:
    """Somebody who waits to hear whether they may join, and the groups and players that they lost meanwhile."""

    __slots__ = ("lost", "user_id")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.lost: set[str] = set()


class ChannelService:
    """What sessions do in channels. A channel is a stream, and exists while somebody is in it."""

    def __init__(
        self, chat: ChatService, presences: Presences, addresses: Addresses, events: EventBus, tasks: Tasks
    ) -> None:
        self._chat = chat
        self._presences = presences
        self._addresses = addresses
        self._events = events
        self._tasks = tasks
        self._asking: set[_Asking] = set()
        for mode in CHANNEL_MODES:
            presences.announce(mode, channel_presence_event, gathers=True)

    # -- coming and going

    async def join(self, session: Session, target: str, kind: int, *, persistence: bool, hidden: bool) -> Joined:
        """Join a channel; a second time changes nothing.

        Raises BadTarget, BadKind, TooManyChannels, NotLookedUp, SessionClosing.
        """
        user_id = session.caller.user_id
        with self._ask(user_id) as asking:
            channel = await self._addresses.find(target, kind, user_id)
        if channel.mode == GROUP and channel.subject in asking.lost:
            raise BadTarget("Group not found")
        if channel.mode == DIRECT and not asking.lost.isdisjoint((channel.subject, channel.subcontext)):
            raise BadTarget("User ID not found")
        places = self._presences.of_session(session.id)
        if channel not in places and sum(one.mode in CHANNEL_MODES for one in places) >= CHANNELS_PER_SESSION_MAX:
            raise TooManyChannels
        own, new = self._presences.join(session, channel, persistence=persistence, hidden=hidden)
        members = self._presences.audience(channel).values()
        if new and channel.mode == DIRECT:
            self._knock(channel, own, members)
        shown = (
            member
            for member in members
            if not member.presence.hidden and not (new and member.presence.session_id == session.id)
        )
        return Joined(channel, own, list(islice(shown, PRESENCES_LISTED_MAX)))

    @contextmanager
    def _ask(self, user_id: str) -> Iterator[_Asking]:
        asking = _Asking(user_id)
        self._asking.add(asking)
        try:
            yield asking
        finally:
            self._asking.discard(asking)

    def _knock(self, channel: Stream, own: Presence, members: Iterable[Member]) -> None:
        """Let the other one know, unless they are to be seen here."""
        other_id = channel.subcontext if channel.subject == own.user_id else channel.subject
        if other_id == own.user_id:
            return
        if any(one.presence.user_id == other_id and not one.presence.hidden for one in members):
            return
        opened = ConversationOpened(other_id, own.user_id, own.username)
        self._tasks.spawn(self._events.publish(opened), "conversation opened")

    def leave(self, session: Session, channel_id: str) -> None:
        """Leave a channel, in it or not. Raises BadIdentifier."""
        self._presences.leave(session.id, _channel(channel_id))

    async def member_changed(self, event: MemberChanged) -> None:
        """Whoever is no member of a group any more is not in its channel either."""
        if event.happening not in PARTINGS:
            return
        for asking in self._asking:
            if asking.user_id == event.user_id:
                asking.lost.add(event.group_id)
        channel = Stream(GROUP, event.group_id)
        members = self._presences.audience(channel).values()
        for session_id in [one.session.id for one in members if one.presence.user_id == event.user_id]:
            self._presences.leave(session_id, channel)

    async def group_deleted(self, event: GroupDeleted) -> None:
        """The channel of a group ends with it, and nobody is told."""
        for asking in self._asking:
            asking.lost.add(event.group_id)
        self._presences.close(Stream(GROUP, event.group_id))

    async def blocked(self, event: FriendBlocked) -> None:
        """The channel of two players ends when one blocks the other, and nobody is told."""
        for asking in self._asking:
            if asking.user_id == event.user_id:
                asking.lost.add(event.from_user_id)
        self._presences.close(rules.direct(event.user_id, event.from_user_id))

    # -- writing

    async def send(self, session: Session, channel_id: str, content: str) -> Message:
        """Write in a channel that the session is in. Raises BadIdentifier, BadContent, NotJoined, NotPersisted."""
        channel = _channel(channel_id)
        text = rules.checked_content(content)
        persist = self._own(session, channel, "sending").persistence
        caller = session.caller
        try:
            return await self._chat.say(channel, text, caller.user_id, caller.username, persist=persist)
        except (Unavailable, Overloaded):
            raise NotPersisted("message") from None

    async def update(self, session: Session, channel_id: str, message_id: str, content: str) -> Message:
        """Change a message of one's own. Raises BadMessageId, MessageNotFound, and as `send`."""
        found_id = rules.message_id(message_id)
        channel = _channel(channel_id)
        text = rules.checked_content(content)
        persist = self._own(session, channel, "updating").persistence
        caller = session.caller
        try:
            return await self._chat.edit(channel, found_id, text, caller.user_id, caller.username, persist=persist)
        except (Unavailable, Overloaded):
            raise NotPersisted("message update") from None

    async def remove(self, session: Session, channel_id: str, message_id: str) -> Message:
        """Remove a message of one's own. Raises as `update`."""
        found_id = rules.message_id(message_id)
        channel = _channel(channel_id)
        persist = self._own(session, channel, "removing").persistence
        caller = session.caller
        try:
            return await self._chat.erase(channel, found_id, caller.user_id, caller.username, persist=persist)
        except (Unavailable, Overloaded):
            raise NotPersisted("message remove") from None

    def _own(self, session: Session, channel: Stream, doing: str) -> Presence:
        member = self._presences.of_session(session.id).get(channel)
        if member is None:
            raise NotJoined(doing)
        return member.presence


def _channel(channel_id: str) -> Stream:
    try:
        return rules.channel_of(channel_id)
    except BadChannelId:
        raise BadIdentifier from None
