"""Why a ticket still waits."""

from __future__ import annotations

import contextlib
from collections import Counter
from itertools import islice

from palestra.core.turns import TooCostly, Turns
from palestra.features.matchmaker.contract import Reason, WhyNot
from palestra.features.matchmaker.pool import Pool, Ticket

OTHERS_MAX = 1_000


async def explain(pool: Pool, ticket: Ticket, now: float, limit: int, turns: Turns, *, mutual: bool) -> WhyNot:
    """The first thing that keeps each other ticket from this one, at a monotonic second; `limit` of them in full.

    Of some of them, where queries are so costly that all would take too long.
    """
    reasons: list[Reason] = []

    def look_at(other: Ticket) -> bool:
        if other.alive:
            reasons.append(_reason(ticket, other, mutual))
        return False

    with contextlib.suppress(TooCostly):
        await turns.each(list(islice((other for other in pool if other is not ticket), OTHERS_MAX)), look_at)
    return WhyNot(
        ticket=ticket.info(),
        waited_seconds=now - ticket.entered_at,
        looked_at=len(reasons),
        counts=Counter(reason.reason for reason in reasons),
        reasons=tuple(reasons[:limit]),
    )


def _reason(ticket: Ticket, other: Ticket, mutual: bool) -> Reason:
    if not ticket.apart(other):
        return Reason(other.id, "same session", "a player is in both")
    if counts := _counts(ticket, other):
        return Reason(other.id, "counts", counts)
    if clause := ticket.query.failing(other.document):
        return Reason(other.id, "query", f"{clause.text} does not hold for the other")
    if mutual and (clause := other.query.failing(ticket.document)):
        return Reason(other.id, "acceptance", f"{clause.text} of the other does not hold for this one")
    waiting = "" if ticket.relaxed else f", or {ticket.least} once it has relaxed"
    return Reason(other.id, "too few players", f"they fit; a match takes {ticket.most}{waiting}")


def _counts(ticket: Ticket, other: Ticket) -> str:
    """What of their counts does not go together, "" if they do."""
    shown = f"{ticket.least} to {ticket.most} and {other.least} to {other.most}"
    if not (ticket.contains(other) or other.contains(ticket)):
        return f"{shown}: neither lies within the other"
    low, high = max(ticket.least, other.least), min(ticket.most, other.most)
    if not any(ticket.allows(players) and other.allows(players) for players in range(low, high + 1)):
        return f"{shown}, in multiples of {ticket.multiple} and {other.multiple}: no number is in both"
    if ticket.size + other.size > high:
        return f"{ticket.size} and {other.size} players together are more than {high}"
    return ""
