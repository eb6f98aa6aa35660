"""Matches in memory: a node's matches without a node, and sessions that listen."""

from __future__ import annotations

from collections.abc import Callable

from palestra.core.clock import Clock
from palestra.core.config import MatchSettings
from palestra.core.tasks import Tasks
from palestra.features.matches.recording import Recordings
from palestra.features.matches.running import RunningMatches
from palestra.features.streams.contract import Presences
from palestra.sdk.bounds import Bounds
from palestra.sdk.context import Context
from palestra.sdk.game import Game
from palestra.sdk.match import BoundHandler


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
    presences: Presences, clock: Clock, *games: Game, settings: MatchSettings | None = None, tasks: Tasks | None = None
) -> RunningMatches:
    """The matches of a node named `node`; they tick at the test's word."""
    chosen = settings or MatchSettings()
    return RunningMatches(
        presences,
        Games(*games),
        chosen,
        "node",
        tasks=tasks or Tasks(),
        clock=clock,
        recordings=Recordings(chosen, ".palestra"),
    )
