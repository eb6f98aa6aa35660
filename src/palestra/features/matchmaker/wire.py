"""What the matchmaker looks like on the wire."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from palestra.core.clock import utc
from palestra.features.matchmaker import contract
from palestra.gateway.fields import Int32
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import Push, encode


class MatchmakerAdd(msgspec.Struct):
    """Request of matchmaker_add."""

    min_count: Int32 = 0
    max_count: Int32 = 0
    query: str = ""
    string_properties: dict[str, str] = {}
    numeric_properties: dict[str, float] = {}
    count_multiple: Int32 | None = None


class MatchmakerRemove(msgspec.Struct):
    """Request of matchmaker_remove."""

    ticket: str = ""


class MatchmakerTicket(msgspec.Struct, omit_defaults=True):
    """The `matchmaker_ticket` reply."""

    ticket: str


class MatchmakerUser(msgspec.Struct, omit_defaults=True):
    """One player of a match; numbers that JSON has no form for are texts."""

    presence: UserPresence
    party_id: str = ""
    string_properties: Mapping[str, str] = {}
    numeric_properties: dict[str, float | str] = {}


class MatchmakerMatched(msgspec.Struct, omit_defaults=True):
    """The pushed `matchmaker_matched`: a match by id or by token."""

    ticket: str
    match_id: str | None = None
    token: str | None = None
    users: msgspec.Raw = msgspec.Raw(b"[]")
    own: msgspec.Raw = msgspec.field(name="self", default=msgspec.Raw(b"{}"))


class Completion(msgspec.Struct, omit_defaults=True):
    """A ticket that was matched."""

    create_time: datetime
    complete_time: datetime


class MatchmakerStats(msgspec.Struct, omit_defaults=True):
    """How the matchmaker is doing."""

    ticket_count: int = 0
    oldest_ticket_create_time: datetime | None = None
    completions: list[Completion] = []


class TicketRequest(msgspec.Struct):
    """Which ticket."""

    ticket: str = ""


class Waiting(msgspec.Struct, omit_defaults=True):
    """A ticket that waits: what it asks for by now, how many others were looked at and what keeps them away."""

    ticket: str
    query: str
    waited_seconds: float
    looked_at: int = 0
    reasons: dict[str, int] = {}


def request_of(request: MatchmakerAdd) -> contract.TicketRequest:
    """What a player asks for."""
    return contract.TicketRequest(
        min_count=request.min_count,
        max_count=request.max_count,
        query=request.query,
        string_properties=request.string_properties,
        numeric_properties=request.numeric_properties,
        count_multiple=request.count_multiple,
    )


def matched_pushes(entries: Iterable[contract.Entry], match_id: str | None, token: str | None) -> list[Push]:
    """The envelope for each player of a match, in their order; what they share is encoded once."""
    players = list(entries)
    users = [msgspec.Raw(encode(_user(entry))) for entry in players]
    everybody = msgspec.Raw(encode(users))
    return [
        Push("matchmaker_matched", MatchmakerMatched(entry.ticket, match_id, token, everybody, own))
        for entry, own in zip(players, users, strict=True)
    ]


def waiting_of(why: contract.WhyNot) -> Waiting:
    """Why a ticket waits, without saying who the others are."""
    waited = round(why.waited_seconds, 1)
    return Waiting(why.ticket.ticket, why.ticket.query, waited, why.looked_at, dict(why.counts))


def stats_of(stats: contract.Stats) -> MatchmakerStats:
    """Figures in their wire form."""
    oldest = stats.oldest_create_time
    return MatchmakerStats(
        stats.ticket_count,
        None if oldest is None else utc(oldest),
        [Completion(utc(one.create_time), utc(one.complete_time)) for one in stats.completions],
    )


def _user(entry: contract.Entry) -> MatchmakerUser:
    who = entry.presence
    numbers = {
        name: value if math.isfinite(value) else str(value).replace("nan", "NaN").replace("inf", "Infinity")
        for name, value in entry.numeric_properties.items()
    }
    presence = UserPresence(who.user_id, who.session_id, who.username)
    return MatchmakerUser(presence, entry.party_id, entry.string_properties, numbers)
