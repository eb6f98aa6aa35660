"""What the maker of matches knows of the tickets of other nodes."""

from __future__ import annotations

from palestra.core.clock import Clock
from palestra.features.matchmaker.between import Filling, Waiting
from palestra.features.matchmaker.engine import Backfill
from palestra.features.matchmaker.maker import Maker
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.tickets import mark_of

DISAGREEMENTS_MAX = 2
"""Heartbeats in a row at which a node's tickets are not those that it is known to have."""


class _View:
    """What is known of one node."""

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.backfills: dict[str, Backfill] = {}
        self.disagreements = 0
        self.mark = 0


class Views:
    """All of them, and what the engine has of them. A ticket stays until its owner has heard that it is matched."""

    def __init__(self, maker: Maker, clock: Clock) -> None:
        self._maker = maker
        self._now = clock.monotonic
        self._views: dict[str, _View] = {}

    def clear(self) -> None:
        """Know nothing."""
        self._views.clear()

    def drop(self, node: str) -> None:
        """A node is gone, or is to tell all anew."""
        view = self._views.pop(node, None)
        if view is not None:
            for ticket in view.tickets.values():
                self._maker.remove(ticket)
            for backfill in view.backfills:
                self._maker.remove_backfill(backfill)

    def tickets(self) -> list[Ticket]:
        """The tickets of all other nodes."""
        return [ticket for view in self._views.values() for ticket in view.tickets.values()]

    def find(self, ticket_id: str) -> Ticket | None:
        """A ticket of another node."""
        found = (view.tickets.get(ticket_id) for view in self._views.values())
        return next((ticket for ticket in found if ticket is not None), None)

    def waits(self, node: str, told: Waiting) -> None:
        """A node has a ticket; it may have said so before."""
        view = self._views.setdefault(node, _View())
        for other in self._views:
            if other != node:
                # It has gone with its session.
                self.lose(other, told.about.id)
        if told.about.id not in view.tickets:
            ticket = view.tickets[told.about.id] = told.ticket(node, self._now())
            view.mark ^= mark_of(ticket.id)
            self._maker.add(ticket)

    def lose(self, node: str, ticket_id: str) -> None:
        """It has it no more."""
        view = self._views.get(node)
        if view is not None and (ticket := view.tickets.pop(ticket_id, None)) is not None:
            view.mark ^= mark_of(ticket_id)
            self._maker.remove(ticket)

    def fills(self, node: str, told: Filling) -> None:
        """A node has a running match that takes players."""
        self.stops(node, told.id)
        backfill = told.backfill(node, self._now())
        self._views.setdefault(node, _View()).backfills[told.id] = backfill
        if backfill.open:
            self._maker.add_backfill(backfill)

    def stops(self, node: str, backfill_id: str) -> None:
        """It takes no more of them."""
        view = self._views.get(node)
        if view is not None and view.backfills.pop(backfill_id, None) is not None:
            self._maker.remove_backfill(backfill_id)

    def differs(self, node: str, mark: int) -> bool:
        """Whether a node, at its heartbeat, has again other tickets than we know of."""
        view = self._views.setdefault(node, _View())
        known, now = view.mark, self._now()
        for backfill in view.backfills.values():
            if backfill.until > now:
                known ^= mark_of(backfill.id)
        view.disagreements = 0 if known == mark else view.disagreements + 1
        return view.disagreements >= DISAGREEMENTS_MAX
