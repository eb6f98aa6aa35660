"""Statuses of this node's sessions and who follows them; implements the contract's `Statuses`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from palestra.core.errors import Overloaded, Unavailable
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.accounts.contract import Users
from palestra.features.status.contract import (
    FOLLOWS_PER_SESSION_MAX,
    STATUS_BYTES_MAX,
    BadUserId,
    EmptyUsername,
    StatusTooLong,
    TooManyFollows,
    UsersNotChecked,
)
from palestra.features.status.wire import status_presence_event
from palestra.features.streams.contract import (
    STATUS,
    ConnectedSockets,
    Presence,
    Presences,
    SessionClosing,
    Stream,
    UnknownSession,
)
from palestra.gateway.operation import Session


class StatusService:
    """A status is a presence on the stream of its player; those who are told of it are not on that stream.

    Memory for each follow, and none for sessions that follow nobody.
    """

    def __init__(self, presences: Presences, users: Users, sockets: ConnectedSockets) -> None:
        self._presences = presences
        self._users = users
        self._sockets = sockets
        self._followers: dict[str, dict[str, Session]] = {}
        self._followed: dict[str, set[str]] = {}
        presences.announce(STATUS, status_presence_event, hearers=self._hearers)

    def _hearers(self, stream: Stream) -> list[Session]:
        """The player's own sessions, and those that follow the player."""
        followers = self._followers.get(stream.subject, {})
        return [*self._sockets.of_user(stream.subject), *followers.values()]

    async def follow(
        self, session_id: str, user_ids: Sequence[str] = (), usernames: Sequence[str] = ()
    ) -> list[Presence]:
        """See Statuses.follow."""
        session = self._session(session_id)
        asked = _ids(user_ids)
        if not all(usernames):
            raise EmptyUsername
        if len(asked) + len(usernames) > FOLLOWS_PER_SESSION_MAX:
            raise TooManyFollows
        nobody = (session.caller.user_id, SYSTEM_USER)
        try:
            known = await self._known([one for one in asked if one not in nobody], usernames)
        except (Unavailable, Overloaded):
            raise UsersNotChecked from None
        players = [one for one in known if one not in nobody]
        if session.closing:
            raise SessionClosing
        followed = self._followed.get(session_id, set())
        if len(followed.union(players)) > FOLLOWS_PER_SESSION_MAX:
            raise TooManyFollows
        for player in players:
            self._followers.setdefault(player, {})[session_id] = session
            self._followed.setdefault(session_id, set()).add(player)
        return [one for player in players for one in self._presences.visible(Stream(STATUS, player))]

    async def _known(self, user_ids: Sequence[str], usernames: Sequence[str]) -> dict[str, None]:
        """The players that exist, once each, in the order in which they were named."""
        found = {user.id for user in await self._users.get_many(user_ids)} if user_ids else set[str]()
        named = await self._users.ids_of_usernames(usernames) if usernames else {}
        by_name = [named[name] for name in usernames if name in named]
        return dict.fromkeys([*(one for one in user_ids if one in found), *by_name])

    async def unfollow(self, session_id: str, user_ids: Sequence[str]) -> None:
        """See Statuses.unfollow."""
        self._session(session_id)
        for player in _ids(user_ids):
            if player in self._followed.get(session_id, ()):
                self._unfollow(session_id, player)

    def _unfollow(self, session_id: str, player: str) -> None:
        followed, followers = self._followed[session_id], self._followers[player]
        followed.discard(player)
        if not followed:
            del self._followed[session_id]
        del followers[session_id]
        if not followers:
            del self._followers[player]

    def ended(self, session_id: str) -> None:
        """A session is gone, and follows nobody any more."""
        for player in list(self._followed.get(session_id, ())):
            self._unfollow(session_id, player)

    def pack(self, session_id: str) -> bytes:
        """Whom a session follows that goes on on another node."""
        followed = self._followed.get(session_id)
        return msgspec.msgpack.encode(sorted(followed)) if followed else b""

    def unpack(self, session: Session, packed: bytes) -> None:
        """A session has come that follows others."""
        for player in msgspec.msgpack.decode(packed, type=list[str]):
            self._followers.setdefault(player, {})[session.id] = session
            self._followed.setdefault(session.id, set()).add(player)

    def drop(self, session_id: str) -> None:
        """It hears of them where it is now."""
        self.ended(session_id)

    def strays(self) -> list[str]:
        """Nothing is left behind when a session goes."""
        return []

    async def update(self, session_id: str, status: str | None) -> None:
        """See Statuses.update."""
        session = self._session(session_id)
        if status is None:
            self._presences.leave(session_id, Stream(STATUS, session.caller.user_id))
        elif len(status.encode()) > STATUS_BYTES_MAX:
            raise StatusTooLong
        else:
            self.show(session, status)

    def appear(self, session: Session) -> None:
        """Show that a session is there, and leave it what it shows already."""
        self._presences.join(session, Stream(STATUS, session.caller.user_id), persistence=False)

    def show(self, session: Session, status: str) -> None:
        """Show a status of a session, for the first time or another one. Raises SessionClosing."""
        stream = Stream(STATUS, session.caller.user_id)
        if not self._presences.update(session.id, stream, status):
            self._presences.join(session, stream, persistence=False, status=status)

    def _session(self, session_id: str) -> Session:
        session = self._sockets.sessions.get(session_id)
        if session is None:
            raise UnknownSession
        return session


def _ids(user_ids: Sequence[str]) -> list[str]:
    try:
        return list(dict.fromkeys(map(parse_id, user_ids)))
    except ValueError:
        raise BadUserId from None
