"""The boards a node knows: all definitions, held in memory; those made elsewhere are found when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import asyncpg

from palestra.core.clock import Clock
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.leaderboards.boards import Board, Definition, Period
from palestra.features.leaderboards.contract import LeaderboardNotFound
from palestra.features.leaderboards.rules import possible_id
from palestra.features.leaderboards.store import LeaderboardStore

RETRY_SECONDS = 1.0

log = get_logger(__name__)


class KnownBoards:
    """Leaderboards and tournaments by id, with ranks that are filled in the background."""

    def __init__(self, store: LeaderboardStore, tasks: Tasks, clock: Clock) -> None:
        self._store = store
        self._tasks = tasks
        self._now = clock.now
        self._boards: dict[str, Board] = {}
        self._stale: set[Period] = set()
        self.added = asyncio.Event()
        """Set whenever a board is added, for those who wait for its periods to end."""

    def __iter__(self) -> Iterator[Board]:
        return iter(list(self._boards.values()))

    def __contains__(self, board: Board) -> bool:
        return self._boards.get(board.definition.id) is board

    async def start(self) -> None:
        """Learn all boards, and fill their ranks in the background. One round trip."""
        for definition in await self._store.all_boards():
            self.add(definition, stored=True)
        now = self._now()
        self._load([board.current(now) for board in self._boards.values()])

    async def board(self, id: str) -> Board:
        """The board with this id, looked up in the database when it is not known yet. Raises LeaderboardNotFound."""
        board = self._boards.get(id)
        if board is not None:
            return board
        definition = await self._store.find_board(id) if possible_id(id) else None
        if definition is None:
            raise LeaderboardNotFound
        board = self._boards.get(id)
        if board is None:
            board = self.add(definition, stored=True)
            self._load([board.current(self._now())])
        return board

    def add(self, definition: Definition, *, stored: bool) -> Board:
        """Know a board; `stored` says whether it may have records already."""
        board = self._boards[definition.board.id] = Board(definition, self._now(), stored=stored)
        self.added.set()
        return board

    async def delete(self, id: str, *, tournament: bool) -> None:
        """Delete a board of this kind with all its records, if there is one."""
        if possible_id(id) and await self._store.delete_board(id, tournament=tournament):
            self._boards.pop(id, None)

    def forgotten(self, owner: bytes) -> None:
        """An owner has no records any more, and so no ranks. O(boards)."""
        now = self._now()
        for board in self._boards.values():
            if (ranks := board.current(now).ranks) is not None:
                ranks.remove(owner)

    def reload(self, board: Board, period: Period) -> None:
        """It is unknown what was committed: the ranks are filled anew, unless that is about to happen anyway."""
        if period.ranks is not None and period not in self._stale:
            self._stale.add(period)
            period.ranks = board.new_ranks(loading=True)
            self._load([period])

    def _load(self, periods: Iterable[Period]) -> None:
        self._tasks.spawn(self._fill(list(periods)), "leaderboards.load")

    async def _fill(self, periods: list[Period]) -> None:
        """Fill the ranks that are loading, however long the database is away."""
        while True:
            self._stale.difference_update(periods)
            try:
                await self._store.load_ranks(periods)
                return
            except (PalestraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("ranks are not loaded yet", error=repr(error), retry_after_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
