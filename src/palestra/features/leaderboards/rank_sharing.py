"""This node's way to the ranks that nodes share in Valkey: rounds that take what waits, and lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import asyncpg

from palestra.cluster.script_servers import Call
from palestra.cluster.scripts import Scripts
from palestra.core.errors import PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks
from palestra.database.batch import Batch
from palestra.features.leaderboards.contract import Leaderboard
from palestra.features.leaderboards.rank_builder import RankBuilder
from palestra.features.leaderboards.shared_ranks import (
    OWNERS_MAX,
    Question,
    SharedRanks,
    Standing,
    gone_since,
    version_of,
)

SCRIPT = Path(__file__).with_name("ranks.lua").read_text(encoding="utf-8")
PERIODS_PER_ROUND = 200
OWNERS_PER_ROUND = OWNERS_MAX
"""News, and questions, of one period in a round: the server does nothing else meanwhile, a few milliseconds."""
LATE_MAX = 100_000
"""Owners whose news may wait for Valkey; beyond that their periods are built anew instead."""
REBUILD_SECONDS = 21_600
"""However sound they seem, ranks are built anew every six hours: what a dying node did not tell shows by then."""
RETRY_SECONDS = 1.0
STOP_SECONDS_MAX = 2.0
_READY, _STALE, _LOADING, _MISSING = range(4)

log = get_logger(__name__)


class SharedRanking:
    """This node's way to the ranks of all boards. One round trip is under way at a time; the next takes what waits.

    What could not be told is read again when Valkey is back, owner by owner; where that would be too much the period is
    built anew. So nothing is lost but what a node had not told when it died, see `distrust`.
    """

    def __init__(self, scripts: Scripts, builder: RankBuilder, tasks: Tasks, node: str, prefix: str) -> None:
        self._scripts = scripts
        self._builder = builder
        self._tasks = tasks
        self._node = node
        self._prefix = prefix
        # In order of arrival.
        self._waiting: dict[SharedRanks, None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._stopping = False
        self._late: dict[SharedRanks, None] = {}
        self._late_count = 0
        self._catching_up = False
        self.batches: list[Batch] = []
        self.rounds = self.items = self.failures = 0
        scripts.on_up = self._up

    @property
    def up(self) -> bool:
        """Whether ranks can be asked for."""
        return self._scripts.up

    def ranks_of(self, board: Leaderboard, ends_at: int) -> SharedRanks:
        """The ranks of a period. Costs nothing."""
        return SharedRanks(self, self._prefix, board, ends_at)

    async def start(self) -> None:
        """Connect, if the server is there."""
        await self._scripts.start()

    async def stop(self) -> None:
        """Tell what waits, then disconnect."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                if self._sending is not None:
                    await asyncio.wait([self._sending])
                await self._catch_up()
                await self._send()
        if left := sum(len(ranks.late) for ranks in self._late):
            log.warning("ranks were not brought up to date in Valkey", owners=left)
        await self._scripts.stop()

    def asked(self, ranks: SharedRanks) -> None:
        """There is something to be sent when this turn of the loop is over."""
        self._waiting[ranks] = None
        if self._sending is None and self._scripts.up:
            self._sending = self._tasks.spawn(self._send(), "ranks to Valkey")

    def forget(self, ranks: SharedRanks) -> None:
        """Drop the ranks of a board that is deleted; were they missed, they would go by themselves when idle."""
        ranks.news.clear()
        ranks.late.clear()
        if self._scripts.up:
            self._tasks.spawn(self._try([Call(ranks.keys, ("forget",))]), "ranks of a deleted board")

    def distrust(self, node: str, all_ranks: Iterable[SharedRanks]) -> None:
        """A node is gone: what it wrote to of late is built anew, for it may have died before it told."""
        calls = [Call(ranks.keys, ("distrust", node)) for ranks in all_ranks]
        self._tasks.spawn(self._distrust(calls), "ranks that a lost node wrote")

    async def _distrust(self, calls: list[Call]) -> None:
        for part in range(0, len(calls), PERIODS_PER_ROUND):
            await self._try(calls[part : part + PERIODS_PER_ROUND])

    async def _try(self, calls: list[Call]) -> None:
        try:
            await self._scripts.run(calls)
        except Unavailable as error:
            log.warning("ranks in Valkey are not marked", reason=error.message)

    # -- when Valkey is away

    def missed(self, ranks: SharedRanks, count: int) -> None:
        """There is so much more news that cannot be told now."""
        self._late[ranks] = None
        self._late_count += count
        if self._late_count > LATE_MAX:
            for one in self._late:
                one.late.clear()
                one.doubted = True
                self._waiting[one] = None
            self._late, self._late_count = {}, 0

    def _up(self) -> None:
        self._late_count = 0
        if self._late and not self._catching_up and not self._stopping:
            self._tasks.spawn(self._catch_up(), "late ranks to Valkey")
        if self._waiting and self._sending is None and not self._stopping:
            self._sending = self._tasks.spawn(self._send(), "ranks to Valkey")

    async def _catch_up(self) -> None:
        """Read again what could not be told: others may have changed it since, and told that, and be forgotten."""
        self._catching_up = True
        try:
            while self._late and self._scripts.up:
                ranks = next(iter(self._late))
                late = dict(itertools.islice(ranks.late.items(), OWNERS_PER_ROUND))
                if not late:
                    del self._late[ranks]
                    continue
                try:
                    found = await self._builder.reread(ranks, list(late))
                except (PalestraError, asyncpg.PostgresError) as error:
                    log.warning("late ranks are not read yet", leaderboard=ranks.id, error=repr(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                for owner, news in late.items():
                    # What came in meanwhile is to be read once more.
                    if ranks.late.get(owner) is news:
                        del ranks.late[owner]
                        _renew(ranks, owner, found.get(owner) or gone_since(news))
                self.asked(ranks)
        finally:
            self._catching_up = False

    # -- rounds

    async def _send(self) -> None:
        try:
            # Whoever waited for a write asks in the same turn: both go together.
            await asyncio.sleep(0)
            while self._waiting and self._scripts.up:
                round_of = [_taken(ranks) for ranks in itertools.islice(self._waiting, PERIODS_PER_ROUND)]
                for taken in round_of:
                    if not (taken.ranks.news or taken.ranks.questions):
                        del self._waiting[taken.ranks]
                await self._round(round_of)
        finally:
            self._sending = None
            for ranks in self._waiting:
                # Nobody waits for a server that is away.
                _answer(ranks.questions, None)
                ranks.questions = []
                self._postpone(ranks, ranks.news)
                ranks.news = {}

    async def _round(self, round_of: list[_Taken]) -> None:
        life_of, calls = self._scripts.life_of, []
        for taken in round_of:
            ranks = taken.ranks
            asked = b"".join(owner for question in taken.questions for owner in question.owners)
            arguments = (
                "touch",
                self._node,
                life_of(ranks.keys[0]),
                int(taken.doubted),
                int(ranks.descending),
                b"".join(taken.news.values()),
                asked,
                REBUILD_SECONDS,
            )
            calls.append(Call(ranks.keys, arguments))
        self.rounds += 1
        try:
            replies = await self._scripts.run(calls)
        except Unavailable as error:
            replies = [error] * len(calls)
        except BaseException:
            for taken in round_of:
                self._give_back(taken)
            raise
        for taken, reply in zip(round_of, replies, strict=True):
            if isinstance(reply, Exception):
                self._failed(taken, reply)
            else:
                self.items += len(taken.news)
                self._answered(taken, reply)

    def _answered(self, taken: _Taken, reply: list[int]) -> None:
        state, count, *ranks = reply
        if state in (_STALE, _MISSING):
            self._builder.build(taken.ranks)
        at = 0
        for question in taken.questions:
            to = at + len(question.owners)
            if not question.answer.done():
                known = state in (_READY, _STALE)
                question.answer.set_result(Standing(count, ranks[at:to]) if known else None)
            at = to

    def _failed(self, taken: _Taken, error: Exception) -> None:
        """Nothing is lost: what was to be told is read again, what was asked is unknown."""
        self.failures += 1
        self._give_back(taken)
        if isinstance(error, Unavailable):
            return
        # The server is there and refuses, as one that is full does: no ranks are better than old ones.
        ranks = taken.ranks
        log.warning("Valkey refuses ranks", leaderboard=ranks.id, reason=str(error))
        self.forget(ranks)
        ranks.refused = ranks.doubted = True
        self._waiting.pop(ranks, None)
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, ranks)

    def _retry(self, ranks: SharedRanks) -> None:
        ranks.refused = False
        if not self._stopping:
            self.asked(ranks)

    def _give_back(self, taken: _Taken) -> None:
        ranks = taken.ranks
        if taken.doubted:
            ranks.doubted = True
            self._waiting[ranks] = None
        self._postpone(ranks, taken.news)
        _answer(taken.questions, None)

    def _postpone(self, ranks: SharedRanks, news: dict[bytes, bytes]) -> None:
        if news:
            ranks.late.update(news)
            self.missed(ranks, len(news))

    # -- metrics

    def measure(self, metrics: Metrics) -> None:
        """Show whether ranks are there, and what they cost."""
        counts: dict[str, Callable[[], int]] = {
            "rounds": lambda: self.rounds,
            "written": lambda: self.items,
            "failures": lambda: self.failures,
            "built": lambda: self._builder.built,
        }
        metrics.gauge("palestra_ranks_up", "Whether shared ranks can be asked for", (), lambda: [((), int(self.up))])
        metrics.counter(
            "palestra_ranks",
            "What is done with shared ranks",
            ("what",),
            lambda: [((what,), read()) for what, read in counts.items()],
        )


def _renew(ranks: SharedRanks, owner: bytes, news: bytes) -> None:
    """Tell what was read again, unless there is later news."""
    waiting = ranks.news.get(owner)
    if waiting is None or version_of(waiting) < version_of(news):
        ranks.news[owner] = news


def _answer(questions: Iterable[Question], standing: Standing | None) -> None:
    for question in questions:
        if not question.answer.done():
            question.answer.set_result(standing)


class _Taken(NamedTuple):
    """What a round takes of a period."""

    ranks: SharedRanks
    doubted: bool
    news: dict[bytes, bytes]
    questions: list[Question]


def _taken(ranks: SharedRanks) -> _Taken:
    """The oldest news; and when all news is taken, the oldest questions."""
    if len(ranks.news) <= OWNERS_PER_ROUND:
        news, ranks.news = ranks.news, {}
    else:
        news = {owner: ranks.news.pop(owner) for owner in list(itertools.islice(ranks.news, OWNERS_PER_ROUND))}
    count = owners = 0
    if not ranks.news:
        for question in ranks.questions:
            owners += len(question.owners)
            if count and owners > OWNERS_PER_ROUND:
                break
            count += 1
    questions, ranks.questions = ranks.questions[:count], ranks.questions[count:]
    doubted, ranks.doubted = ranks.doubted, False
    return _Taken(ranks, doubted, news, questions)
