"""What can be done with leaderboards; implements the contract's `Leaderboards`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from palestra.core.clock import Clock, utc
from palestra.core.errors import OutcomeUnknown, PalestraError
from palestra.core.events import EventBus
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.leaderboards import rules
from palestra.features.leaderboards.boards import Board, Period
from palestra.features.leaderboards.contract import (
    AuthoritativeDeletion,
    AuthoritativeSubmission,
    InvalidCursor,
    InvalidLeaderboard,
    InvalidMetadata,
    InvalidOwner,
    InvalidScore,
    Leaderboard,
    LeaderboardNotFound,
    LeaderboardPage,
    LeaderboardRecord,
    LeaderboardReset,
    RecordPage,
)
from palestra.features.leaderboards.pages import PageRequest, Position, around, request_of
from palestra.features.leaderboards.store import LeaderboardStore, OwnersRequest, Removal, Submission

LOOK_SECONDS_MAX = 60.0
"""The longest sleep between two looks for ended periods, so that a clock that is set is noticed."""
RETRY_SECONDS = 1.0

# Well-formed JSON and text that PostgreSQL cannot hold all the same.
_UNSTORABLE = (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError)

log = get_logger(__name__)


class LeaderboardService:
    """Boards, records and ranks. All definitions are held in memory; boards made elsewhere are found when asked for."""

    def __init__(self, store: LeaderboardStore, events: EventBus, tasks: Tasks, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._tasks = tasks
        self._now = clock.now
        self._boards: dict[str, Board] = {}
        self._stale: set[Period] = set()
        self._board_added = asyncio.Event()

    async def start(self) -> None:
        """Learn all boards, then fill their ranks and watch their resets in the background. One round trip."""
        for definition in await self._store.all_boards():
            self._know(definition, stored=True)
        now = self._now()
        self._load([board.current(now) for board in self._boards.values()])
        self._tasks.spawn(self._watch_resets(), "leaderboards.resets")

    # -- boards

    async def create(
        self,
        id: str,
        *,
        sort: str = "descending",
        operator: str = "best",
        reset: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        authoritative: bool = False,
        enable_ranks: bool = True,
    ) -> Leaderboard:
        """See Leaderboards.create."""
        reset = reset or None
        the_sort, the_operator = rules.check_board(id, sort, operator, reset)
        text = rules.metadata_text(metadata) or "{}"
        wanted = Leaderboard(id, authoritative, the_sort, the_operator, reset, text, enable_ranks, utc(0))
        try:
            created = await self._store.create_board(wanted)
        except _UNSTORABLE:
            raise InvalidLeaderboard("The metadata of a leaderboard cannot be stored.") from None
        if created is None:
            return (await self._board(id)).definition
        self._know(created, stored=False)
        return created

    async def delete(self, id: str) -> None:
        """See Leaderboards.delete."""
        if rules.possible_id(id):
            await self._store.delete_board(id)
            self._boards.pop(id, None)

    async def get(self, ids: Iterable[str]) -> list[Leaderboard]:
        """See Leaderboards.get."""
        found = []
        for id in dict.fromkeys(ids):
            with contextlib.suppress(LeaderboardNotFound):
                found.append((await self._board(id)).definition)
        return found

    async def list(self, limit: int = rules.BOARDS_LIMIT_MAX, cursor: str = "") -> LeaderboardPage:
        """See Leaderboards.list."""
        rules.check_limit(limit, rules.BOARDS_LIMIT_MAX)
        found = await self._store.list_boards(cursor, limit + 1)
        return LeaderboardPage(found[:limit], found[limit - 1].id if len(found) > limit else "")

    # -- records

    async def submit(
        self,
        id: str,
        owner_id: str,
        username: str | None,
        score: int,
        subscore: int = 0,
        metadata: Mapping[str, Any] | str | None = None,
        operator: str | int | None = None,
        *,
        authority: bool = True,
    ) -> LeaderboardRecord:
        """See Leaderboards.submit."""
        text = rules.metadata_text(metadata)
        owner_id = rules.owner_id(owner_id)
        board = await self._board(id)
        definition = board.definition
        if definition.authoritative and not authority:
            raise AuthoritativeSubmission
        change = board.change(rules.operator_of(operator, definition.operator))
        period = board.current(self._now())
        given = rules.checked_score(score, subscore)
        try:
            return await self._store.submit(Submission(period, owner_id, username, given, text, change))
        except _UNSTORABLE:
            raise (InvalidScore if text is None else InvalidMetadata) from None
        except OutcomeUnknown:
            self._reload(board, period)
            raise

    async def remove(self, id: str, owner_id: str, *, authority: bool = True) -> None:
        """See Leaderboards.remove."""
        owner_id = rules.owner_id(owner_id)
        board = await self._board(id)
        if board.definition.authoritative and not authority:
            raise AuthoritativeDeletion
        period = board.current(self._now())
        try:
            await self._store.remove(Removal(period, owner_id))
        except OutcomeUnknown:
            self._reload(board, period)
            raise

    async def records(
        self, id: str, owner_ids: Iterable[str] = (), limit: int | None = None, cursor: str = "", expiry: int = 0
    ) -> RecordPage:
        """See Leaderboards.records."""
        if limit is not None:
            rules.check_limit(limit, rules.LIST_LIMIT_MAX)
        try:
            owners = tuple(dict.fromkeys(rules.owner_id(one) for one in owner_ids))
        except InvalidOwner:
            raise InvalidOwner("One or more owner IDs are invalid.") from None
        board = await self._board(id)
        if not 0 <= expiry <= rules.EXPIRY_MAX:
            return RecordPage()
        period = board.period(expiry, self._now())
        request = request_of(cursor, period, board.descending, 1 if limit is None else limit)
        if not owners:
            return await self._store.page(request)
        if limit is None and not cursor:
            page = RecordPage(rank_count=period.rank_count)
            page.owner_records = await self._store.owners(OwnersRequest(period, owners))
        else:
            shared, found = await asyncio.gather(
                self._store.page(request), self._store.owners(OwnersRequest(period, owners))
            )
            page = RecordPage(shared.records, found, shared.next_cursor, shared.prev_cursor, shared.rank_count)
        page.owner_records.sort(key=_in_order, reverse=board.descending)
        return page

    async def around(self, id: str, owner_id: str, limit: int = 1, cursor: str = "", expiry: int = 0) -> RecordPage:
        """See Leaderboards.around."""
        rules.check_limit(limit, rules.AROUND_LIMIT_MAX)
        owner_id = rules.owner_id(owner_id)
        board = await self._board(id)
        if not 0 <= expiry <= rules.EXPIRY_MAX:
            return RecordPage()
        period = board.period(expiry, self._now())
        if cursor:
            try:
                return await self._store.page(request_of(cursor, period, board.descending, limit))
            except InvalidCursor:
                raise InvalidCursor("Error querying records from leaderboard.") from None
        found = await self._store.owners(OwnersRequest(period, (owner_id,)))
        if not found:
            return RecordPage()
        (record,) = found
        place = Position(record.score, record.subscore, owner_id)
        below = PageRequest(period, board.descending, limit, place, record.rank or None)
        above, under = await asyncio.gather(self._store.page(below._replace(backwards=True)), self._store.page(below))
        return around(period, above, record, under, limit)

    # -- owners who leave

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete all records of a player, in the transaction that deletes the player."""
        await self._store.forget(tx, user_id)

    def forgotten(self, user_id: str) -> None:
        """That transaction is committed: the player has no ranks any more. O(boards)."""
        owner = bytes.fromhex(user_id.replace("-", ""))
        now = self._now()
        for board in self._boards.values():
            if (ranks := board.current(now).ranks) is not None:
                ranks.remove(owner)

    # -- resets

    async def roll_over(self) -> float | None:
        """Tell of every period that has ended since the last time; answers when the next one ends (unix seconds)."""
        now = self._now()
        next_end: float | None = None
        for board in list(self._boards.values()):
            ends_at = board.current(now).ends_at
            if ends_at and (next_end is None or ends_at < next_end):
                next_end = ends_at
            for ended in board.take_ended():
                try:
                    await self._events.publish(LeaderboardReset(board.definition, ended))
                except Exception:
                    log.exception("a subscriber to leaderboard resets failed", leaderboard=board.definition.id)
        return next_end

    async def _watch_resets(self) -> None:
        while True:
            next_end = await self.roll_over()
            seconds = LOOK_SECONDS_MAX if next_end is None else max(next_end - self._now(), 0.0)
            self._board_added.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._board_added.wait(), min(seconds, LOOK_SECONDS_MAX))

    # -- what the node knows

    async def _board(self, id: str) -> Board:
        """The board with this id, looked up in the database when this node does not know it yet."""
        board = self._boards.get(id)
        if board is not None:
            return board
        definition = await self._store.find_board(id) if rules.possible_id(id) else None
        if definition is None:
            raise LeaderboardNotFound
        board = self._boards.get(id)
        if board is None:
            board = self._know(definition, stored=True)
            self._load([board.current(self._now())])
        return board

    def _know(self, definition: Leaderboard, *, stored: bool) -> Board:
        board = self._boards[definition.id] = Board(definition, self._now(), stored=stored)
        self._board_added.set()
        return board

    def _reload(self, board: Board, period: Period) -> None:
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


def _in_order(record: LeaderboardRecord) -> tuple[int, int, str]:
    return record.score, record.subscore, record.owner_id
