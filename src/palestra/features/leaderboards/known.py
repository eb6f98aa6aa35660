"""The boards a node knows: all definitions, held in memory; those made elsewhere are found when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

import asyncpg

from palestra.core.clock import Clock
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.leaderboards.boards import Board, Definition, Period, SharedOf
from palestra.features.leaderboards.contract import LeaderboardNotFound
from palestra.features.leaderboards.rules import possible_id
from palestra.features.leaderboards.shared_ranks import SharedRanks
from palestra.features.leaderboards.store import LeaderboardStore, Left

RETRY_SECONDS = 1.0

log = get_logger(__name__)


class KnownBoards:
    """Leaderboards and tournaments by id, with ranks that are filled in the background.

    With `shared_of` ranks are those that nodes share, and not filled here. `tell` is called with the id of each board
    that this node has made or deleted; on what other nodes have, `check` and `check_all` look into the database.
    """

    def __init__(
        self,
        store: LeaderboardStore,
        tasks: Tasks,
        clock: Clock,
        shared_of: SharedOf | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._now = clock.now
        self._shared_of = shared_of
        self._tell = tell or _nobody
        self._changes = 0
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

    def known(self, id: str) -> Board | None:
        """The board with this id, if it is known already."""
        return self._boards.get(id)

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
        self._changes += 1
        board = Board(definition, self._now(), stored=stored, shared_of=self._shared_of)
        self._boards[definition.board.id] = board
        self.added.set()
        return board

    def made(self, definition: Definition) -> Board:
        """Know a board that this node has made just now."""
        board = self.add(definition, stored=False)
        self._tell(definition.board.id)
        return board

    async def delete(self, id: str, *, tournament: bool) -> None:
        """Delete a board of this kind with all its records, if there is one."""
        if possible_id(id) and await self._store.delete_board(id, tournament=tournament):
            board = self._drop(id)
            self._tell(id)
            if board is not None and (shared := board.current(self._now()).shared) is not None:
                shared.forget()

    async def check(self, ids: Sequence[str]) -> None:
        """Another node has made or deleted these boards, or both. One shared round trip."""
        while True:
            changes = self._changes
            found = await asyncio.gather(*map(self._store.find_board, ids))
            if changes == self._changes:
                break
        for id, definition in zip(ids, found, strict=True):
            self._correct(id, definition)

    async def check_all(self) -> None:
        """Other nodes may have made and deleted boards. One round trip."""
        while True:
            changes = self._changes
            found = {definition.board.id: definition for definition in await self._store.all_boards()}
            if changes == self._changes:
                break
        for id in self._boards.keys() | found.keys():
            self._correct(id, found.get(id))

    def _correct(self, id: str, definition: Definition | None) -> None:
        known = self._boards.get(id)
        if definition is None:
            self._drop(id)
        elif known is None:
            board = self.add(definition, stored=True)
            self._load([board.current(self._now())])
        elif known.definition != definition.board:
            # What this node has written meanwhile counts for the board that is there now.
            board = self.add(definition, stored=True)
            self.reload(board, board.current(self._now()))

    def _drop(self, id: str) -> Board | None:
        self._changes += 1
        return self._boards.pop(id, None)

    def forgotten(self, owner: bytes, left: Iterable[Left]) -> None:
        """An owner has no records any more, and so no ranks."""
        now = self._now()
        for board_id, ends_at, created_at in left:
            board = self._boards.get(board_id)
            if board is None or (period := board.current(now)).ends_at != ends_at:
                continue
            if period.ranks is not None:
                period.ranks.remove(owner)
            elif period.shared is not None:
                period.shared.remove(owner, created_at)

    def reload(self, board: Board, period: Period) -> None:
        """It is unknown what was committed: the ranks are filled anew, unless that is about to happen anyway."""
        if period.shared is not None:
            period.shared.doubt()
        elif period.ranks is not None and period not in self._stale:
            self._stale.add(period)
            period.ranks = board.new_ranks(loading=True)
            self._load([period])

    def shared_ranks(self) -> list[SharedRanks]:
        """The ranks of all running periods, where nodes share them."""
        now = self._now()
        periods = [board.current(now) for board in self._boards.values()]
        return [period.shared for period in periods if period.shared is not None]

    def _load(self, periods: Iterable[Period]) -> None:
        if self._shared_of is None:
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


def _nobody(id: str) -> None:
    """No other node is to be told."""
