"""Relayed matches: joining, leaving, sending to each other, listing."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from palestra.core.clock import Clock
from palestra.core.config import SessionSettings
from palestra.core.ids import new_id
from palestra.core.tokens import Signer
from palestra.features.matches.contract import (
    InvalidMatchId,
    InvalidMatchToken,
    MatchInfo,
    MatchNotFound,
)
from palestra.features.matches.rules import (
    RELAYED_NODE,
    TOKEN_SECONDS,
    check_listing,
    named_match,
    split_match_id,
)
from palestra.features.matches.tokens import MatchClaims
from palestra.features.matches.wire import data_envelope, data_prefix, match_id_of, match_presence_event
from palestra.features.streams.contract import MATCH, RELAYED_MATCH, Presence, Presences, Stream
from palestra.gateway.operation import Session
from palestra.gateway.push import RawPush


class Joined(msgspec.Struct, frozen=True):
    """A session in a match: its own presence, whether it is new, and everybody to be seen there, itself included."""

    match_id: str
    own: Presence
    new: bool
    everybody: list[Presence]


class MatchesService:
    """Implements `Matches`. A relayed match is a stream of mode 5: it exists as long as somebody is on it."""

    def __init__(self, presences: Presences, settings: SessionSettings, clock: Clock) -> None:
        self._presences = presences
        self._tokens = Signer(settings.encryption_key, MatchClaims)
        self._clock = clock
        presences.announce(RELAYED_MATCH, match_presence_event)
        presences.announce(MATCH, match_presence_event)

    def create(self, session: Session, name: str) -> Joined:
        """Join a new match, or the one that all who give this name share."""
        return self._join(session, Stream(RELAYED_MATCH, named_match(name) if name else new_id()))

    def join(self, session: Session, match_id: str) -> Joined:
        """Join a match by id. Raises InvalidMatchId, MatchNotFound."""
        match, node = split_match_id(match_id)
        stream = Stream(RELAYED_MATCH, match)
        if node != RELAYED_NODE or not self._presences.audience(stream):
            raise MatchNotFound
        return self._join(session, stream)

    def join_by_token(self, session: Session, token: str) -> Joined:
        """Join a match, empty or not, by a token made for it. Raises InvalidMatchToken, MatchNotFound."""
        claims = self._tokens.check(token)
        if claims is None or claims.exp <= self._clock.now():
            raise InvalidMatchToken
        try:
            match, node = split_match_id(claims.mid)
        except InvalidMatchId:
            raise InvalidMatchToken from None
        if node != RELAYED_NODE:
            raise MatchNotFound
        return self._join(session, Stream(RELAYED_MATCH, match))

    def token(self, match_id: str) -> str:
        """A token that lets its bearer into a match for half a minute."""
        return self._tokens.sign(MatchClaims(match_id, int(self._clock.now()) + TOKEN_SECONDS))

    def leave(self, session: Session, match_id: str) -> None:
        """Leave a match, in it or not. Raises InvalidMatchId."""
        match, _ = split_match_id(match_id)
        self._presences.leave(session.id, Stream(RELAYED_MATCH, match))

    def _join(self, session: Session, stream: Stream) -> Joined:
        own, new = self._presences.join(session, stream, persistence=False)
        return Joined(match_id_of(stream), own, new, self._presences.visible(stream))

    def relay(
        self, session: Session, match: str, op_code: bytes, data: bytes, *, reliable: bool, only: Iterable[str] | None
    ) -> bool:
        """Send to everybody else in a match, or to the listed sessions; False if the sender is not in it.

        `op_code` is canonical decimal, `data` canonical base64. The envelope is built and framed once, whatever the
        number of members.
        """
        stream = Stream(RELAYED_MATCH, match)
        audience = self._presences.audience(stream)
        sender = audience.get(session.id)
        if sender is None:
            return False
        if not sender.encoded:
            sender.encoded = data_prefix(stream, sender.presence)
        push = RawPush(data_envelope(sender.encoded, op_code, data, reliable), droppable=not reliable)
        if only is None:
            for member in audience.values():
                if member is not sender:
                    member.session.send(push)
        else:
            for session_id in dict.fromkeys(only):
                if (member := audience.get(session_id)) is not None:
                    member.session.send(push)
        return True

    async def list(
        self,
        *,
        limit: int = 10,
        authoritative: bool | None = None,
        label: str | None = None,
        query: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
    ) -> list[MatchInfo]:
        """Running matches. A label, a query or `authoritative` leave no relayed match over."""
        check_listing(limit, authoritative, label, query, min_size, max_size)
        found: list[MatchInfo] = []
        if authoritative or label is not None or query is not None:
            return found
        for stream, audience in self._presences.of_mode(RELAYED_MATCH).items():
            size = len(audience)
            if (min_size or 0) <= size and (max_size is None or size <= max_size):
                found.append(MatchInfo(match_id_of(stream), size))
                if len(found) == limit:
                    break
        return found
