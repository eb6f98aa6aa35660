"""What can be done with leaderboards; implements the contract's `Leaderboards`."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from palestra.core.clock import Clock, utc
from palestra.core.errors import OutcomeUnknown
from palestra.features.leaderboards import rules
from palestra.features.leaderboards.boards import Board, Definition
from palestra.features.leaderboards.contract import (
    AuthoritativeDeletion,
    AuthoritativeSubmission,
    InvalidCursor,
    InvalidLeaderboard,
    InvalidMetadata,
    InvalidScore,
    Leaderboard,
    LeaderboardNotFound,
    LeaderboardPage,
    LeaderboardRecord,
    RecordPage,
)
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.pages import PageRequest, Position, around, request_of
from palestra.features.leaderboards.ranked import owner_bytes
from palestra.features.leaderboards.store import LeaderboardStore, Left, Removal, Submission

LEAVING_MAX = 1_000
"""Players who may be about to be deleted; transactions that were given up leave theirs behind."""
UNSTORABLE = (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError)
"""What PostgreSQL says to well-formed JSON and text that it cannot hold all the same."""


class LeaderboardService:
    """Boards and their records. Tournaments can be read here too; writing to them goes through their own service."""

    def __init__(self, store: LeaderboardStore, boards: KnownBoards, clock: Clock) -> None:
        self._store = store
        self._boards = boards
        self._now = clock.now
        self._leaving: dict[str, list[Left]] = {}

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
            created = await self._store.create_board(Definition(wanted, None, math.floor(self._now())))
        except UNSTORABLE:
            raise InvalidLeaderboard("The metadata of a leaderboard cannot be stored.") from None
        if created is not None:
            return self._boards.made(created).definition
        try:
            return (await self._plain(id)).definition
        except LeaderboardNotFound:
            raise InvalidLeaderboard(f"{id!r} is the id of a tournament.") from None

    async def delete(self, id: str) -> None:
        """See Leaderboards.delete."""
        await self._boards.delete(id, tournament=False)

    async def get(self, ids: Iterable[str]) -> list[Leaderboard]:
        """See Leaderboards.get."""
        found = []
        for id in dict.fromkeys(ids):
            with contextlib.suppress(LeaderboardNotFound):
                found.append((await self._plain(id)).definition)
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
        board = await self._plain(id)
        definition = board.definition
        if definition.authoritative and not authority:
            raise AuthoritativeSubmission
        change = board.change(rules.operator_of(operator, definition.operator))
        period = board.current(self._now())
        given = rules.checked_score(score, subscore)
        try:
            with period.written():
                return await self._store.submit(Submission(period, owner_id, username, given, text, change))
        except UNSTORABLE:
            raise (InvalidScore if text is None else InvalidMetadata) from None
        except OutcomeUnknown:
            self._boards.reload(board, period)
            raise

    async def remove(self, id: str, owner_id: str, *, authority: bool = True) -> None:
        """See Leaderboards.remove."""
        owner_id = rules.owner_id(owner_id)
        board = await self._plain(id)
        if board.definition.authoritative and not authority:
            raise AuthoritativeDeletion
        period = board.current(self._now())
        try:
            with period.written():
                await self._store.remove(Removal(period, owner_id))
        except OutcomeUnknown:
            self._boards.reload(board, period)
            raise

    async def records(
        self, id: str, owner_ids: Iterable[str] = (), limit: int | None = None, cursor: str = "", expiry: int = 0
    ) -> RecordPage:
        """See Leaderboards.records."""
        if limit is not None:
            rules.check_limit(limit, rules.LIST_LIMIT_MAX)
        owners = rules.owner_ids(owner_ids)
        board = await self._boards.board(id)
        if not 0 <= expiry <= rules.EXPIRY_MAX:
            return RecordPage()
        period = board.period(expiry, self._now())
        request = request_of(cursor, period, board.descending, 1 if limit is None else limit)
        if not owners:
            return await self._store.page(request)
        if limit is None and not cursor:
            found = await self._store.owners(period, owners)
            page = RecordPage(owner_records=found, rank_count=await self._store.rank_count(period))
        else:
            shared, found = await asyncio.gather(self._store.page(request), self._store.owners(period, owners))
            page = RecordPage(shared.records, found, shared.next_cursor, shared.prev_cursor, shared.rank_count)
        page.owner_records.sort(key=_in_order, reverse=board.descending)
        return page

    async def around(self, id: str, owner_id: str, limit: int = 1, cursor: str = "", expiry: int = 0) -> RecordPage:
        """See Leaderboards.around."""
        rules.check_limit(limit, rules.AROUND_LIMIT_MAX)
        owner_id = rules.owner_id(owner_id)
        board = await self._boards.board(id)
        if not 0 <= expiry <= rules.EXPIRY_MAX:
            return RecordPage()
        period = board.period(expiry, self._now())
        if cursor:
            try:
                return await self._store.page(request_of(cursor, period, board.descending, limit))
            except InvalidCursor:
                raise InvalidCursor("Error querying records from leaderboard.") from None
        if (page := await self._store.around(period, owner_id, limit)) is not None:
            return page
        found = await self._store.owners(period, (owner_id,))
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
        self._leaving.pop(user_id, None)
        while len(self._leaving) >= LEAVING_MAX:
            del self._leaving[next(iter(self._leaving))]
        self._leaving[user_id] = await self._store.forget(tx, user_id)

    def forgotten(self, user_id: str) -> None:
        """That transaction is committed: the player has no ranks any more."""
        self._boards.forgotten(owner_bytes(user_id), self._leaving.pop(user_id, ()))

    async def _plain(self, id: str) -> Board:
        """The board with this id that is no tournament. Raises LeaderboardNotFound."""
        board = await self._boards.board(id)
        if board.terms is not None:
            raise LeaderboardNotFound
        return board


def _in_order(record: LeaderboardRecord) -> tuple[int, int, str]:
    return record.score, record.subscore, record.owner_id
