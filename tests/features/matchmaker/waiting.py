"""Tickets for tests, and an engine with a clock of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palestra.core.config import MatchmakerSettings
from palestra.core.query import parse
from palestra.features.matchmaker.engine import Engine, Group
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.rules import counts
from palestra.features.streams.contract import Presence


class Waiting:
    """An engine, the time, and what was formed so far."""

    def __init__(self, **settings: Any) -> None:
        self.engine = Engine(MatchmakerSettings(**settings))
        self.now = 0.0
        self.groups: list[Group] = []
        self._number = 0

    def add(
        self,
        sessions: str | Sequence[str],
        least: int = 2,
        most: int = 2,
        query: str = "*",
        *,
        party: str = "",
        multiple: int = 1,
        **properties: str | float,
    ) -> Ticket:
        """A ticket that comes now, for one session or for a party, not yet tried."""
        names = [sessions] if isinstance(sessions, str) else sessions
        ticket = self.ticket(names, (least, most, multiple), query, party, properties)
        self.engine.add(ticket, self.now)
        return ticket

    def ticket(
        self,
        names: Sequence[str],
        wanted: tuple[int, int, int],
        query: str,
        party: str,
        properties: Mapping[str, str | float],
    ) -> Ticket:
        self._number += 1
        presences = tuple(Presence(f"user-{name}", name, name) for name in names)
        number = self._number
        made = counts(*wanted)
        texts = {name: value for name, value in properties.items() if isinstance(value, str)}
        numbers = {name: value for name, value in properties.items() if not isinstance(value, str)}
        return Ticket(f"t{number}", number, presences, party, made, parse(query), texts, numbers, self.now, self.now)

    def run(self) -> list[list[str]]:
        """Work through what is due now; the sessions of the matches formed by it."""
        formed = self.engine.step(self.now, lambda: False)
        self.groups += formed
        return [sessions_of(group) for group in formed]

    def after(self, seconds: float) -> list[list[str]]:
        """As `run`, after some time in which the engine is asked whenever it wants to be."""
        until = self.now + seconds
        formed = self.run()
        while (at := self.engine.next_at()) is not None and at <= until:
            self.now = max(self.now, at)
            formed += self.run()
        self.now = until
        return formed + self.run()

    def waiting(self) -> list[str]:
        """The sessions that still wait."""
        return [name for ticket in self.engine.pool for name in names_of(ticket)]


def names_of(ticket: Ticket) -> list[str]:
    return [presence.session_id for presence in ticket.presences]


def sessions_of(group: Group) -> list[str]:
    return [name for ticket in group.tickets for name in names_of(ticket)]
