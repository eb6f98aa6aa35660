"""Matches in memory: a node's matches without a node, and sessions that listen."""

from __future__ import annotations

from collections.abc import Callable

from palestra.core.clock import Clock, ManualClock
from palestra.core.config import MatchSettings, SessionSettings
from palestra.core.tasks import Tasks
from palestra.features.matches.recording import Recordings
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.service import MatchesService
from palestra.features.streams.contract import Presences
from palestra.features.streams.engine import PresenceEngine
from palestra.sdk.bounds import Bounds
from palestra.sdk.context import Context
from palestra.sdk.game import Game
from palestra.sdk.match import BoundHandler
from tests.features.listener import Listener


def no_platform() -> Context:
    """Matches of these tests have no platform."""
    raise RuntimeError("there is no platform")


class Games:
    """Implements `MatchGames` for games that are at hand."""

    def __init__(self, *games: Game, context: Callable[[], Context] = no_platform) -> None:
        self.bounds = Bounds(10.0)
        self.match_handlers = {
            declared.name: BoundHandler(declared, game, self.bounds, context)
            for game in games
            for declared in game.matches.values()
        }


def running_matches(
    presences: Presences,
    clock: Clock,
    games: Games | None = None,
    settings: MatchSettings | None = None,
    tasks: Tasks | None = None,
) -> RunningMatches:
    """The matches of a node named `node`; they tick at the test's word."""
    chosen = settings or MatchSettings()
    return RunningMatches(
        presences,
        games or Games(),
        chosen,
        "node",
        tasks=tasks or Tasks(),
        clock=clock,
        recordings=Recordings(chosen, ".palestra"),
    )


class Hall:
    """A node's matches with players in memory; the clock stands still, and matches tick when told."""

    def __init__(self, *games: Game, settings: MatchSettings | None = None) -> None:
        self.clock = ManualClock()
        self.engine = PresenceEngine()
        self.tasks = Tasks()
        self.games = Games(*games)
        self.running = running_matches(self.engine, self.clock, self.games, settings, self.tasks)
        self.matches = MatchesService(self.engine, self.running, SessionSettings(), self.clock)

    async def enter(self, match_id: str, *names: str) -> list[Listener]:
        """New players who have joined, and have heard all that was said by then."""
        players = [Listener(name) for name in names]
        for player in players:
            await self.matches.join(player, match_id, {})
            player.reply()
        for player in players:
            player.take()
        return players

    def say(self, player: Listener, match_id: str, op_code: int, data: bytes = b"") -> bool:
        """Whether the match took in what a player sent."""
        match, _, node = match_id.partition(".")
        return self.matches.receive(player, match, node, op_code, data, True)

    async def tick(self, count: int = 1) -> None:
        """Tick every match, and wait for what it waits for."""
        for _ in range(count):
            self.running.scheduler.step()
            await self.running.at_rest()

    def drop(self, player: Listener) -> None:
        """The player's connection is gone."""
        player.closing = True
        self.engine.leave_all(player.id)
