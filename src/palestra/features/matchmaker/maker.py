"""The driver of the engine: gives it time, and passes on what it forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from palestra.core.clock import Clock
from palestra.core.config import MatchmakerSettings
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.matchmaker.contract import MatchmakerGames
from palestra.features.matchmaker.engine import Backfill, Engine, Group
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.rules import PLAYERS_MAX

SLICE_SECONDS = 0.004
"""How long the engine works before others have their turn."""
LIST_MAX = 10_000

log = get_logger(__name__)


class Maker:
    """Makes matches of what it is given. What has been formed is `formed`'s to carry out."""

    def __init__(self, settings: MatchmakerSettings, games: MatchmakerGames, tasks: Tasks, clock: Clock) -> None:
        self._settings = settings
        self._games = games
        self._tasks = tasks
        self._clock = clock
        self.engine = Engine(settings)
        self.formed: Callable[[Group], None]
        self._woken = asyncio.Event()

    # -- what there is to make matches of

    def begin_anew(self) -> None:
        """Forget all tickets and backfills."""
        for ticket in list(self.engine.pool):
            self.engine.remove(ticket)
        self.engine = Engine(self._settings)
        self.games_changed()

    def add(self, ticket: Ticket) -> None:
        """A ticket begins to wait."""
        self.engine.add(ticket, self._clock.monotonic())
        self._woken.set()

    def put_back(self, ticket: Ticket) -> None:
        """A ticket waits on, unless it does so already."""
        if ticket not in self.engine.pool:
            self.engine.put_back(ticket, self._clock.monotonic())
            self._woken.set()

    def remove(self, ticket: Ticket) -> None:
        """A ticket waits no more."""
        self.engine.remove(ticket)

    def add_backfill(self, backfill: Backfill) -> None:
        """A running match takes players, or takes more of them."""
        self.engine.add_backfill(backfill)
        self._woken.set()

    def remove_backfill(self, backfill_id: str) -> None:
        """A running match takes no more."""
        self.engine.backfills.pop(backfill_id, None)

    def games_changed(self) -> None:
        """Other games are in force, and what they declare."""
        self.engine.relax_by(self._games.relaxations, self._clock.monotonic())
        self.engine.leave_to_others(self._games.forms_every_seconds is not None)
        self._woken.set()

    # -- the driver

    def start(self) -> None:
        """Begin to make matches."""
        self._tasks.spawn(self._run(), "matchmaker")

    async def _run(self) -> None:
        while True:
            every_seconds = self._games.forms_every_seconds
            await self._wait(every_seconds)
            try:
                self.work()
                if every_seconds is not None:
                    await self._let_game_form()
            except Exception as error:
                # One search, or what game code made of one, must not end the making of matches.
                log.error("making matches failed", exc_info=error)
            # Others have their turn, however much there is to do.
            await asyncio.sleep(0)

    async def _wait(self, at_most_seconds: float | None) -> None:
        """Wait until the engine has something to do."""
        if at_most_seconds is not None:
            await asyncio.sleep(at_most_seconds)
            return
        at = self.engine.next_at()
        seconds = None if at is None else at - self._clock.monotonic()
        if seconds is None or seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
        self._woken.clear()

    def work(self) -> None:
        """One slice of the engine's work, and pass on what it has formed. Tests that move the clock call it."""
        until = self._clock.monotonic() + SLICE_SECONDS
        for group in self.engine.step(self._clock.monotonic(), lambda: self._clock.monotonic() > until):
            self.formed(group)

    async def _let_game_form(self) -> None:
        engine = self.engine
        waiting = {ticket.id: ticket for ticket in islice(engine.pool, LIST_MAX)}
        if not waiting:
            return
        for infos in await self._games.form([ticket.info() for ticket in waiting.values()]):
            tickets = [waiting.get(info.ticket) for info in infos]
            found = {ticket.id: ticket for ticket in tickets if ticket is not None and ticket in engine.pool}
            sessions = [session for ticket in found.values() for session in ticket.sessions]
            # Who left meanwhile, or is in another group, takes the group with it; the rest goes on waiting.
            if len(found) == len(infos) > 0 and len(set(sessions)) == len(sessions) <= PLAYERS_MAX:
                self.formed(engine.take(found.values()))
