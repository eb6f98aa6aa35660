"""All that there is of a match between two callbacks, as it goes to another node or into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from palestra.features.matches.contract import MatchMessage, MatchPlayer
from palestra.features.matches.record import Sent, sent

Chance = tuple[int, tuple[int, ...], float | None]
"""Where a match's source of chance stands."""


class Received(msgspec.Struct, array_like=True, frozen=True):
    """What players sent that no tick has had yet. `gone` are those senders who have left since."""

    messages: list[Sent] = []
    gone: list[MatchPlayer] = []


class Snapshot(msgspec.Struct, array_like=True, frozen=True):
    """A match. `code` is what its game code knows, in the form of `MatchCode.snapshot`."""

    match_id: str
    name: str
    started_at: float
    tick_number: int
    empty_ticks: int
    label: str
    chance: Chance
    players: list[MatchPlayer]
    received: Received
    code: bytes


class Since(msgspec.Struct, array_like=True, frozen=True):
    """What has happened to a match since its snapshot."""

    match_id: str
    received: Received
    arrivals: list[MatchPlayer]
    departures: list[tuple[str, str]]
    """Session ids and reasons."""


encode = msgspec.msgpack.Encoder().encode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


def received_of(messages: Sequence[MatchMessage], players: Mapping[str, MatchPlayer]) -> Received:
    """Messages as they are written."""
    gone = {one.sender.session_id: one.sender for one in messages if one.sender.session_id not in players}
    return Received([sent(one) for one in messages], list(gone.values()))


def messages_of(received: Received, players: Mapping[str, MatchPlayer]) -> list[MatchMessage]:
    """The messages again; whose sender is not known is left out."""
    known = {**{one.session_id: one for one in received.gone}, **players}
    return [
        MatchMessage(known[one.session_id], one.op_code, one.data, one.reliable, one.received_at)
        for one in received.messages
        if one.session_id in known
    ]
