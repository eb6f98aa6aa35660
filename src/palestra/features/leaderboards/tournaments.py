"""What can be done with tournaments; implements the contract's `Tournaments` on the boards of leaderboards."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from palestra.core.clock import Clock, utc
from palestra.core.cron import Schedule
from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.errors import OutcomeUnknown
from palestra.features.leaderboards import rules
from palestra.features.leaderboards.boards import Board, Definition
from palestra.features.leaderboards.contract import (
    AuthoritativeTournament,
    InvalidCursor,
    InvalidLeaderboard,
    InvalidMetadata,
    InvalidScore,
    InvalidTournament,
    JoinRefused,
    Leaderboard,
    LeaderboardNotFound,
    LeaderboardRecord,
    RecordPage,
    Tournament,
    TournamentClosed,
    TournamentNotFound,
    TournamentPage,
)
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.rules import Seats, Terms, TournamentPlace, Window
from palestra.features.leaderboards.service import UNSTORABLE, LeaderboardService
from palestra.features.leaderboards.store import LeaderboardStore
from palestra.features.leaderboards.tournament_store import Attempt, Entry, Grant, Join, TournamentStore, Withdrawal

RECORDS_LIMIT = 10
RECORDS_LIMIT_MAX = 100
WRITE_FAILED = "Error writing score to tournament."
DELETE_FAILED = "Error deleting score from tournament."

_Asked = tuple[int, int | None, int, int | None]
_Seconds = Annotated[int, Meta(ge=0, le=rules.EXPIRY_MAX)]


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a list goes on, and what was asked for."""

    asked: _Asked
    start_time: _Seconds
    end_time: _Seconds
    category: Annotated[int, Meta(ge=0, le=rules.CATEGORY_MAX)]
    id: str


class TournamentService:
    """Tournaments: boards with terms. What is read as on any board is left to the leaderboards."""

    def __init__(
        self,
        store: TournamentStore,
        board_store: LeaderboardStore,
        boards: KnownBoards,
        leaderboards: LeaderboardService,
        clock: Clock,
    ) -> None:
        self._store = store
        self._board_store = board_store
        self._boards = boards
        self._leaderboards = leaderboards
        self._now = clock.now
        self._pages = store.pages(self._read_page)

    # -- tournaments

    async def create(
        self,
        id: str,
        *,
        duration_seconds: int,
        sort: str = "descending",
        operator: str = "best",
        reset: str | None = None,
        start_time: float = 0,
        end_time: float = 0,
        title: str = "",
        description: str = "",
        category: int = 0,
        max_size: int = 0,
        max_num_score: int = 0,
        join_required: bool = False,
        metadata: Mapping[str, Any] | None = None,
        authoritative: bool = False,
        enable_ranks: bool = True,
    ) -> Tournament:
        """See Tournaments.create."""
        # What is there already is not checked again: by now its end may have come before "now", its start.
        if found := await self.get([id]):
            return found[0]
        now = math.floor(self._now())
        terms = Terms(
            duration_seconds=duration_seconds,
            start_time=math.floor(start_time) or now,
            end_time=math.floor(end_time),
            title=title,
            description=description,
            category=category,
            max_size=max_size or rules.SIZE_MAX,
            max_num_score=max_num_score or rules.ATTEMPTS_DEFAULT,
            join_required=join_required,
        )
        reset = reset or None
        try:
            the_sort, the_operator = rules.check_board(id, sort, operator, reset)
        except InvalidLeaderboard as error:
            raise InvalidTournament(error.message) from None
        schedule = Schedule.parse(reset) if reset else None
        rules.check_terms(terms, schedule)
        text = rules.metadata_text(metadata) or "{}"
        wanted = Leaderboard(id, authoritative, the_sort, the_operator, reset, text, enable_ranks, utc(0))
        first = rules.window_at(terms, schedule, now)
        try:
            created = await self._board_store.create_board(Definition(wanted, terms, now), first.expires_at)
        except UNSTORABLE:
            raise InvalidTournament("A text or number of this tournament cannot be stored.") from None
        if created is not None:
            self._boards.made(created)
            self._pages.invalidate_all()
        found = await self.get([id])
        if not found:
            raise InvalidTournament(f"{id!r} is the id of a leaderboard.")
        return found[0]

    async def delete(self, id: str) -> None:
        """See Tournaments.delete."""
        try:
            await self._boards.delete(id, tournament=True)
        finally:
            self._pages.invalidate_all()

    async def get(self, ids: Iterable[str]) -> list[Tournament]:
        """See Tournaments.get."""
        seats = await self._store.seats([id for id in dict.fromkeys(ids) if rules.possible_id(id)])
        return await self._seen((id, seats[id]) for id in dict.fromkeys(ids) if id in seats)

    async def list(
        self,
        category_start: int = 0,
        category_end: int | None = None,
        start_time: int = 0,
        end_time: int | None = None,
        limit: int = rules.TOURNAMENTS_LIMIT_MAX,
        cursor: str = "",
    ) -> TournamentPage:
        """See Tournaments.list."""
        if not 1 <= limit <= rules.TOURNAMENTS_LIMIT_MAX:
            raise InvalidTournament(f"Limit must be between 1 and {rules.TOURNAMENTS_LIMIT_MAX}.")
        asked = (category_start, category_end, start_time, end_time)
        # Everything in a page depends on the time, in whole seconds.
        return await self._pages.page("", asked, limit, cursor, math.floor(self._now()))

    async def _read_page(self, asked: Sequence[Any], limit: int, cursor: str, now: int) -> TournamentPage:
        category_start, category_end, start_time, end_time = asked
        wanted = rules.tournament_filter(category_start, category_end, start_time, end_time, now)
        asked = (category_start, category_end, start_time, end_time)
        if cursor:
            wanted = wanted._replace(after=_place(cursor, asked))
        rows = await self._store.list(wanted, limit + 1)
        found = await self._seen(rows[:limit])
        if len(rows) <= limit or not found:
            return TournamentPage(found, "")
        last = found[-1]
        return TournamentPage(
            found, seal_cursor(_Cursor(asked, last.start_time, last.end_time, last.category, last.id))
        )

    # -- taking part

    async def join(self, id: str, owner_id: str, username: str | None) -> None:
        """See Tournaments.join."""
        owner_id = rules.owner_id(owner_id)
        board, terms = await self._tournament(id)
        if not terms.join_required:
            return
        now = self._now()
        if terms.over(now) or _window(board, terms, now).closed(now):
            raise JoinRefused(rules.JOIN_TOO_LATE)
        await self._write(board, Join(board.current(now), owner_id, terms, username))

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
        """See Tournaments.submit."""
        text = rules.metadata_text(metadata)
        owner_id = rules.owner_id(owner_id)
        try:
            board = await self._boards.board(id)
        except LeaderboardNotFound:
            raise TournamentNotFound from None
        terms, now = board.terms, self._now()
        if terms is None:
            raise TournamentNotFound(WRITE_FAILED)
        if terms.over(now):
            raise TournamentNotFound("Tournament not found or has ended.")
        if board.definition.authoritative and not authority:
            raise AuthoritativeTournament
        if not _window(board, terms, now).open(now):
            raise TournamentClosed
        try:
            given = rules.checked_score(score, subscore)
            change = board.change(rules.operator_of(operator, board.definition.operator))
        except InvalidScore:
            raise InvalidScore(WRITE_FAILED) from None
        try:
            return await self._write(board, Attempt(board.current(now), owner_id, terms, username, given, text, change))
        except UNSTORABLE:
            raise (InvalidScore(WRITE_FAILED) if text is None else InvalidMetadata()) from None

    async def add_attempts(self, id: str, owner_id: str, count: int) -> LeaderboardRecord:
        """See Tournaments.add_attempts."""
        owner_id = rules.owner_id(owner_id)
        board, terms = await self._tournament(id)
        return await self._write(board, Grant(board.current(self._now()), owner_id, terms, count))

    async def remove(self, id: str, owner_id: str, *, authority: bool = True) -> None:
        """See Tournaments.remove."""
        owner_id = rules.owner_id(owner_id)
        try:
            board, terms = await self._tournament(id)
        except TournamentNotFound:
            raise TournamentNotFound(DELETE_FAILED) from None
        if board.definition.authoritative and not authority:
            raise AuthoritativeTournament(DELETE_FAILED)
        await self._write(board, Withdrawal(board.current(self._now()), owner_id, terms))

    async def _write(self, board: Board, entry: Entry) -> Any:
        with entry.period.written():
            try:
                return await self._store.write(entry)
            except OutcomeUnknown:
                self._boards.reload(board, entry.period)
                raise

    # -- records

    async def records(
        self, id: str, owner_ids: Iterable[str] = (), limit: int | None = None, cursor: str = "", expiry: int = 0
    ) -> RecordPage:
        """See Tournaments.records."""
        owner_ids = rules.owner_ids(owner_ids)
        if limit is None and owner_ids and cursor:
            cursor = ""
        elif limit is None:
            limit = RECORDS_LIMIT
        if limit is not None:
            rules.check_limit(limit, RECORDS_LIMIT_MAX)
        _, terms = await self._tournament(id)
        if not expiry and terms.over(self._now()):
            raise TournamentNotFound("Tournament has ended.")
        return await self._leaderboards.records(id, owner_ids, limit, cursor, expiry)

    async def around(
        self, id: str, owner_id: str, limit: int = RECORDS_LIMIT_MAX, cursor: str = "", expiry: int = 0
    ) -> RecordPage:
        """See Tournaments.around."""
        rules.check_limit(limit, RECORDS_LIMIT_MAX)
        owner_id = rules.owner_id(owner_id)
        _, terms = await self._tournament(id)
        if not expiry and terms.over(self._now()):
            return RecordPage()
        return await self._leaderboards.around(id, owner_id, limit, cursor, expiry)

    # -- what the node knows

    async def _tournament(self, id: str) -> tuple[Board, Terms]:
        """The tournament with this id. Raises TournamentNotFound."""
        try:
            board = await self._boards.board(id)
        except LeaderboardNotFound:
            raise TournamentNotFound from None
        if board.terms is None:
            raise TournamentNotFound
        return board, board.terms

    async def _seen(self, rows: Iterable[tuple[str, Seats]]) -> list[Tournament]:
        """Tournaments as they stand now, but for those that were deleted meanwhile."""
        found = []
        for id, seats in rows:
            with contextlib.suppress(TournamentNotFound):
                board, terms = await self._tournament(id)
                now = self._now()
                window = _window(board, terms, now)
                found.append(rules.tournament_of(board.definition, terms, board.schedule, window, seats, now))
        return found


def _window(board: Board, terms: Terms, now: float) -> Window:
    return rules.window_at(terms, board.schedule, now)


def _place(cursor: str, asked: _Asked) -> TournamentPlace:
    try:
        found = open_cursor(cursor, _Cursor)
    except ValueError:
        found = None
    if found is None or found.asked != asked or not rules.possible_id(found.id):
        raise InvalidCursor("leaderboard cursor invalid")
    return TournamentPlace(found.start_time, found.end_time, found.category, found.id)
