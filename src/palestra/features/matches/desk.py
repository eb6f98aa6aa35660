"""The desk of a match: all that its game code sees and does, the same in a replay as when it was played."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from palestra.core.errors import InvalidArgument
from palestra.features.matches.contract import (
    LABEL_BYTES_MAX,
    BadLabel,
    MatchHandler,
    MatchPlayer,
    TooManyDeferred,
)
from palestra.features.matches.snapshot import Snapshot

OP_CODE_MAX = 2**63 - 1


class Sending(NamedTuple):
    """A message to members of a match; `to` None means all of them."""

    op_code: int
    data: bytes
    to: list[MatchPlayer] | None
    sender: MatchPlayer | None
    reliable: bool


class Outlet(Protocol):
    """Where a match's words become deeds."""

    def send(self, sending: Sending) -> None:
        """Send to members now."""
        ...

    def kick(self, players: Iterable[MatchPlayer]) -> None:
        """Remove members."""
        ...

    def relabelled(self) -> None:
        """The label is another one."""
        ...


class NoOutlet:
    """Nothing happens: the match is replayed."""

    def send(self, sending: Sending) -> None:
        """Nobody hears."""

    def kick(self, players: Iterable[MatchPlayer]) -> None:
        """The record says who left."""

    def relabelled(self) -> None:
        """Nobody looks for it."""


class Desk:
    """Implements `MatchDesk`. `players` changes between callbacks only, so that nothing moves under waiting code."""

    __slots__ = (
        "_deferred",
        "_deferred_max",
        "_players",
        "ended",
        "id",
        "label",
        "label_version",
        "name",
        "node",
        "outlet",
        "players",
        "random",
        "started_at",
        "tick_number",
        "ticks_per_second",
    )

    def __init__(
        self, match_id: str, handler: MatchHandler, *, node: str, started_at: float, seed: int, deferred_max: int
    ) -> None:
        self.id = match_id
        self.name = handler.name
        self.node = node
        self.ticks_per_second = handler.ticks_per_second
        self.tick_number = 0
        self.started_at = started_at
        self.random = random.Random(seed)
        self.label = ""
        self.label_version = 0
        """Grows with each change of the label."""
        self.ended = False
        self.outlet: Outlet = NoOutlet()
        self._players: dict[str, MatchPlayer] = {}
        self.players: Mapping[str, MatchPlayer] = MappingProxyType(self._players)
        self._deferred: list[Sending] = []
        self._deferred_max = deferred_max

    @property
    def now(self) -> float:
        """Unix seconds of the present tick."""
        return self.started_at + self.tick_number / self.ticks_per_second

    def broadcast(
        self,
        op_code: int,
        data: bytes,
        *,
        to: Iterable[MatchPlayer] | None,
        sender: MatchPlayer | None,
        reliable: bool,
        deferred: bool,
    ) -> None:
        """Send now, or after the present callback: what cannot be sent is told here, where the game's line is known."""
        if not -OP_CODE_MAX <= op_code <= OP_CODE_MAX:
            raise InvalidArgument(f"op code {op_code} has more than 64 bits")
        chosen = None if to is None else list(to)
        for player in (*(chosen or ()), sender):
            if player is not None and not isinstance(player, MatchPlayer):
                raise TypeError(f"a message is from and to players, as in self.players, not {player!r:.100}")
        sending = Sending(int(op_code), data, chosen, sender, reliable)
        if not deferred:
            self.outlet.send(sending)
        elif len(self._deferred) >= self._deferred_max:
            raise TooManyDeferred
        else:
            self._deferred.append(sending)

    def send_deferred(self) -> None:
        """Send what waited for the end of a callback."""
        if self._deferred:
            waiting, self._deferred = self._deferred, []
            for sending in waiting:
                self.outlet.send(sending)

    def kick(self, players: Iterable[MatchPlayer]) -> None:
        """Remove players."""
        self.outlet.kick(players)

    def set_label(self, label: str) -> None:
        """Change the label."""
        if len(label.encode()) > LABEL_BYTES_MAX:
            raise BadLabel(f"match label too long, must be 0-{LABEL_BYTES_MAX} bytes")
        if label != self.label:
            self.label = label
            self.label_version += 1
            self.outlet.relabelled()

    def end(self) -> None:
        """End the match after the present callback."""
        self.ended = True

    # -- between callbacks

    def go_on(self, snapshot: Snapshot) -> None:
        """Be where a snapshot was made."""
        self.started_at = snapshot.started_at
        self.tick_number = snapshot.tick_number
        self.label = snapshot.label
        self.random.setstate(snapshot.chance)
        self._players.update((player.session_id, player) for player in snapshot.players)

    def arrive(self, player: MatchPlayer) -> None:
        """Count a player in."""
        self._players[player.session_id] = player

    def depart(self, session_id: str, reason: str) -> MatchPlayer:
        """Count a player out; who it was."""
        player = self._players.pop(session_id)
        player.left = reason
        return player
