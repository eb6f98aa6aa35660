"""A party as it is written for another node."""

from __future__ import annotations

import msgspec

from palestra.features.parties.rules import Party
from palestra.features.parties.wire import presence_of
from palestra.features.streams.contract import Stream
from palestra.gateway.presence import UserPresence


class PartySnapshot(msgspec.Struct, array_like=True):
    """All there is of a party. Members and requests (session ids) are in their order; `tickets` as they were packed.

    `nodes` are those that members are on, `moves` counts this move.
    """

    stream: Stream
    number: int
    created_at: int
    leader: str
    max_size: int
    members: list[UserPresence]
    requests: list[str]
    open: bool
    hidden: bool
    label: str
    tickets: bytes
    nodes: list[str]
    moves: int


def snapshot_of(party: Party, tickets: bytes, node: str, moves: int) -> PartySnapshot:
    """The party on this `node`. At most some hundred kilobytes, by the limits of a party."""
    members = [presence_of(one) for one in party.members.values()]
    return PartySnapshot(
        party.stream,
        party.number,
        party.created_at,
        party.leader.id,
        party.max_size,
        members,
        list(party.requests),
        party.open,
        party.hidden,
        party.label,
        tickets,
        list({one.node or node for one in party.members.values()}),
        moves,
    )
