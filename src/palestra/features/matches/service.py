"""Matches of both kinds: joining, leaving, sending, listing; authoritative ones also begin and are signalled here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from palestra.core.clock import Clock
from palestra.core.config import SessionSettings
from palestra.core.ids import new_id
from palestra.core.tokens import Signer
from palestra.core.turns import Turns
from palestra.features.matches.actor import Actor
from palestra.features.matches.contract import (
    InvalidMatchId,
    InvalidMatchToken,
    Joined,
    MatchInfo,
    MatchMoved,
    MatchNotFound,
)
from palestra.features.matches.elsewhere import MOVES_MAX, Elsewhere
from palestra.features.matches.listing import choose
from palestra.features.matches.rules import (
    RELAYED_NODE,
    TOKEN_SECONDS,
    check_listing,
    named_match,
    split_match_id,
)
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.tokens import MatchClaims
from palestra.features.matches.wire import MatchData, match_id_of, match_presence_event, origin_of
from palestra.features.streams.contract import MATCH, RELAYED_MATCH, Presences, Stream
from palestra.gateway.operation import Session

A = TypeVar("A")


class MatchesService:
    """Implements `Matches`. A relayed match is a stream of mode 5: it exists as long as somebody is on it.

    An authoritative one is a stream of mode 6 whose label is the node it runs on.
    """

    def __init__(
        self,
        presences: Presences,
        running: RunningMatches,
        settings: SessionSettings,
        clock: Clock,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._presences = presences
        self._running = running
        self._elsewhere = elsewhere
        self._tokens = Signer(settings.encryption_key, MatchClaims)
        self._clock = clock
        self._turns = Turns(clock.monotonic)
        presences.announce(RELAYED_MATCH, match_presence_event)
        presences.announce(MATCH, match_presence_event)

    # -- authoritative matches

    async def create(self, name: str, params: Any = None) -> str:
        """Begin an authoritative match; its id."""
        return (await self._running.create(name, params)).desk.id

    async def get(self, match_id: str) -> MatchInfo | None:
        """A running match, None where there is none."""
        match, node = split_match_id(match_id)
        if node != RELAYED_NODE:
            found = self._running.look(match, node)
            if found is not None:
                return self._running.info(found)
            return None if self._elsewhere is None else await self._elsewhere.look(match, node)
        stream = Stream(RELAYED_MATCH, match)
        size = len(self._presences.audience(stream))
        return MatchInfo(match_id_of(stream), size) if size else None

    async def signal(self, match_id: str, data: str) -> str:
        """Hand text to an authoritative match; its answer."""
        match, node = split_match_id(match_id)
        return await self._where_it_is(
            match, node, lambda here: here.signal(data), lambda elsewhere, at: elsewhere.signal(match, node, data, at)
        )

    async def _where_it_is(
        self,
        match: str,
        node: str,
        here: Callable[[Actor], Awaitable[A]],
        there: Callable[[Elsewhere, str], Awaitable[A]],
    ) -> A:
        """Do something to an authoritative match, here or on its node, and after it where it moves."""
        at = ""
        for _ in range(MOVES_MAX):
            actor = self._running.find(match, node)
            try:
                if actor is not None or self._elsewhere is None:
                    return await here(self._running.found(match, node))
                return await there(self._elsewhere, at)
            except MatchMoved as moved:
                at = moved.message
        raise MatchNotFound

    def receive(self, session: Session, match: str, node: str, op_code: int, data: bytes, reliable: bool) -> bool:
        """Hand data of a member to its match; False if it is no member, or there is no such match."""
        if self._elsewhere is None:
            return self._running.receive(match, node, session.id, op_code, data, reliable)
        return self._elsewhere.receive(session, match, node, op_code, data, reliable)

    # -- being in a match

    def create_relayed(self, session: Session, name: str) -> Joined:
        """Join a new relayed match, or the one that all who give this name share."""
        return self._join(session, Stream(RELAYED_MATCH, named_match(name) if name else new_id()))

    async def join(self, session: Session, match_id: str, metadata: dict[str, str]) -> Joined:
        """Join a match by id. Raises InvalidMatchId, MatchNotFound, and for authoritative ones as `Actor.join`."""
        match, node = split_match_id(match_id)
        if node != RELAYED_NODE:
            return await self._enter(session, match, node, metadata)
        stream = Stream(RELAYED_MATCH, match)
        if not self._presences.audience(stream) and self._elsewhere is not None:
            # It may have been made on another node a moment ago.
            await self._elsewhere.catch_up()
        if not self._presences.audience(stream):
            raise MatchNotFound
        return self._join(session, stream)

    async def join_by_token(self, session: Session, token: str, metadata: dict[str, str]) -> Joined:
        """Join a match by a token, a relayed one even if it is empty. Raises InvalidMatchToken, and as `join`."""
        claims = self._tokens.check(token)
        if claims is None or claims.exp <= self._clock.now():
            raise InvalidMatchToken
        try:
            match, node = split_match_id(claims.mid)
        except InvalidMatchId:
            raise InvalidMatchToken from None
        if node != RELAYED_NODE:
            return await self._enter(session, match, node, metadata)
        return self._join(session, Stream(RELAYED_MATCH, match))

    def token(self, match_id: str) -> str:
        """A token that lets its bearer into a match for half a minute."""
        return self._tokens.sign(MatchClaims(match_id, int(self._clock.now()) + TOKEN_SECONDS))

    def leave(self, session: Session, match_id: str) -> None:
        """Leave a match, in it or not. Raises InvalidMatchId."""
        match, node = split_match_id(match_id)
        kind = RELAYED_MATCH if node == RELAYED_NODE else MATCH
        self._presences.leave(session.id, Stream(kind, match, label=node))

    def _join(self, session: Session, stream: Stream) -> Joined:
        own, new = self._presences.join(session, stream, persistence=False)
        return Joined(match_id_of(stream), own, new, self._presences.visible(stream))

    async def _enter(self, session: Session, match: str, node: str, metadata: dict[str, str]) -> Joined:
        return await self._where_it_is(
            match,
            node,
            lambda here: self._running.join(here, session, metadata),
            lambda elsewhere, at: elsewhere.join(session, match, node, metadata, at),
        )

    def relay(
        self,
        session: Session,
        match: str,
        op_code: bytes,
        data: bytes,
        *,
        raw: bool = False,
        reliable: bool,
        only: Iterable[str] | None,
    ) -> bool:
        """Send to everybody else in a match, or to the listed sessions; False if the sender is not in it.

        `op_code` is canonical decimal; `data` canonical base64, or with `raw` the bytes themselves. The envelope is
        built and framed at most once for each format, whatever the number of members.
        """
        stream = Stream(RELAYED_MATCH, match)
        audience = self._presences.audience(stream)
        sender = audience.get(session.id)
        if sender is None:
            return False
        push = MatchData(origin_of(stream, sender), op_code, data, raw=raw, reliable=reliable)
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
        quotes: bool = True,
    ) -> list[MatchInfo]:
        """Running matches, authoritative ones first."""
        check_listing(limit, authoritative, label, query, min_size, max_size)
        found: list[MatchInfo] = []
        if authoritative is not False:
            chosen = await choose(
                self._running.newest_first(),
                self._running.size,
                self._turns,
                limit=limit,
                label=label,
                query=query,
                min_size=min_size,
                max_size=max_size,
                quotes=quotes,
            )
            found = [self._running.info(match, size) for match, size in chosen]
        if authoritative or label is not None or query is not None:
            return found
        for stream, audience in self._presences.of_mode(RELAYED_MATCH).items():
            if len(found) == limit:
                break
            size = len(audience)
            if (min_size or 0) <= size and (max_size is None or size <= max_size):
                found.append(MatchInfo(match_id_of(stream), size))
        return found
