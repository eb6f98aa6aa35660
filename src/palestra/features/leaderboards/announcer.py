"""Tells the games of every period and window that ends, at least once, also of those that end while no node runs.

Of several nodes one tells: each end is claimed in the database first, for as long as its telling takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq

import asyncpg

from palestra.core.clock import Clock
from palestra.core.errors import Overloaded, PalestraError, Unavailable
from palestra.core.events import EventBus
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks, set_within
from palestra.features.leaderboards.boards import Board
from palestra.features.leaderboards.contract import LeaderboardReset, TournamentEnd, TournamentReset
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.neighbours import Neighbours
from palestra.features.leaderboards.rules import tournament_of, window_at
from palestra.features.leaderboards.store import CLAIM_SECONDS, LeaderboardStore
from palestra.features.leaderboards.tournament_store import TournamentStore

LOOK_SECONDS_MAX = 60.0
"""The longest sleep between two looks for what has ended, so that a clock that is set is noticed."""
RETRY_SECONDS = 1.0
RENEW_SECONDS = CLAIM_SECONDS / 3

log = get_logger(__name__)


class Announcer:
    """Publishes the ends of periods and windows, one after the other, in order of time.

    How far it has come with a board is stored after each publication. Where that fails, or a subscriber cannot do its
    part now (Unavailable, Overloaded), the same is published again a little later: subscribers may hear of an end more
    than once. Any other error of a subscriber is logged, and that end counts as told.
    """

    def __init__(
        self,
        boards: KnownBoards,
        store: LeaderboardStore,
        tournaments: TournamentStore,
        events: EventBus,
        tasks: Tasks,
        clock: Clock,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._boards = boards
        self._store = store
        self._tournaments = tournaments
        self._events = events
        self._tasks = tasks
        self._now = clock.now
        self._neighbours = neighbours
        self._node = "" if neighbours is None else neighbours.node
        self._telling = asyncio.Lock()

    def start(self) -> None:
        """Begin in the background; whoever listens must have subscribed."""
        self._tasks.spawn(self._watch(), "leaderboards.announce")

    async def announce(self) -> float | None:
        """Tell of all that has ended and was not told; answers when to look again (unix seconds).

        That is when the next period or window ends, or soon where another node is about to tell.
        Raises what keeps it from going on. Two or three round trips for each end.
        """
        soon: float | None = None
        async with self._telling:
            ends = [
                (board.next_end, board.definition.id, board) for board in self._boards if board.next_end is not None
            ]
            heapq.heapify(ends)
            while ends and ends[0][0] <= self._now():
                at, id, board = heapq.heappop(ends)
                if board not in self._boards:
                    continue
                if await self._tell(board, at):
                    if board.next_end is not None:
                        heapq.heappush(ends, (board.next_end, id, board))
                else:
                    soon = self._now() + RETRY_SECONDS
            return soon or (ends[0][0] if ends else None)

    async def _watch(self) -> None:
        while True:
            self._boards.added.clear()
            try:
                next_end = await self.announce()
                seconds = LOOK_SECONDS_MAX if next_end is None else max(next_end - self._now(), 0.0)
            except (PalestraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                seconds = RETRY_SECONDS
                log.warning("the end of a period is told of later", error=repr(error), retry_after_seconds=seconds)
            await set_within(self._boards.added, min(seconds, LOOK_SECONDS_MAX))

    async def _tell(self, board: Board, at: int) -> bool:
        """Tell of what ends on a board at this moment, and remember that it was told.

        False when another node is at it.
        """
        id = board.definition.id
        claim = await self._store.claim_end(id, at, self._node)
        if not claim.granted:
            if claim.announced_at is not None and claim.announced_at < at:
                return False
            # It was told, or nobody wants to know: the board is gone.
            board.announced_until(at if claim.announced_at is None else claim.announced_at)
            return True
        renewing = self._tasks.spawn(self._renew(id, at), "leaderboards.claim")
        try:
            await board.settled(self._now())
            if self._neighbours is not None:
                await self._neighbours.settled(id, at)
            for event in await self._events_at(board, at):
                await self._publish(event, id)
        except BaseException:
            with contextlib.suppress(PalestraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._store.release_end(id, self._node)
            raise
        finally:
            renewing.cancel()
        await self._store.mark_announced(id, at)
        board.announced_until(at)
        return True

    async def _publish(self, event: LeaderboardReset | TournamentEnd | TournamentReset, id: str) -> None:
        try:
            await self._events.publish(event)
        except (Unavailable, Overloaded):
            raise
        except Exception:
            log.exception("a subscriber to the ends of periods failed", leaderboard=id)

    async def _renew(self, id: str, at: int) -> None:
        """Keep the right to tell for as long as that takes."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(PalestraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._store.claim_end(id, at, self._node)

    async def _events_at(self, board: Board, at: int) -> list[LeaderboardReset | TournamentEnd | TournamentReset]:
        """What to tell of; nothing when the board is gone."""
        id, terms = board.definition.id, board.terms
        if terms is None:
            return [LeaderboardReset(board.definition, at)]
        seats = await self._tournaments.seats([id])
        if id not in seats:
            return []
        window = window_at(terms, board.schedule, at - 1)
        tournament = tournament_of(board.definition, terms, board.schedule, window, seats[id], at)
        found: list[LeaderboardReset | TournamentEnd | TournamentReset] = []
        if at == window.end_active:
            found.append(TournamentEnd(tournament, at, window.expires_at))
        if at == window.expires_at:
            found.append(TournamentReset(tournament, at))
        return found
