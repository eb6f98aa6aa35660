"""The ranks of one period as several nodes share them: what is still to be told, and what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import NamedTuple, Protocol

from palestra.features.leaderboards.contract import Leaderboard, Sort

OWNERS_MAX = 1_000
"""Owners in one question."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_RECORD = 0xFFFFFFFF
_pack = Struct(">QQ16sQI").pack


def gone_since(news: bytes) -> bytes:
    """That the record which some news was about is gone."""
    return bytes(16) + news[16:40] + b"\xff\xff\xff\xff"


def version_of(news: bytes) -> bytes:
    """What the later of two pieces of news about an owner has more of."""
    return news[32:]


def news_of(owner: bytes, score: int, subscore: int, created_at: datetime, changes: int) -> bytes:
    """A record as Valkey is told of it: its key, and its version."""
    return _pack(score, subscore, owner, (created_at - _EPOCH) // _MICROSECOND, changes)


class Standing(NamedTuple):
    """How many owners have a rank, and the ranks that were asked for; 0 for those who have none."""

    rank_count: int
    ranks: Sequence[int]


class Question(NamedTuple):
    """Whose ranks somebody waits for."""

    owners: Sequence[bytes]
    answer: asyncio.Future[Standing | None]


class Sharing(Protocol):
    """What carries news and questions to where the ranks are."""

    @property
    def up(self) -> bool:
        """Whether ranks can be asked for."""
        ...

    def asked(self, ranks: SharedRanks) -> None:
        """There is news of a period, or a question about it."""
        ...

    def missed(self, ranks: SharedRanks, count: int) -> None:
        """There is so much more news of a period that cannot be told now."""
        ...

    def forget(self, ranks: SharedRanks) -> None:
        """Drop a period."""
        ...


class SharedRanks:
    """The ranks of one period of a board. Both `set` and `remove` are told in the background, and not lost on the way.

    Whoever asks after that has them counted in.
    """

    __slots__ = ("_sharing", "descending", "doubted", "ends_at", "id", "keys", "late", "news", "questions", "refused")

    def __init__(self, sharing: Sharing, prefix: str, board: Leaderboard, ends_at: int) -> None:
        self._sharing = sharing
        self.id = board.id
        self.ends_at = ends_at
        self.descending = board.sort is Sort.DESCENDING
        made = (board.created_at - _EPOCH) // _MICROSECOND
        # All in one slot of a cluster. A board that is made again under its former id has keys of its own.
        tag = f"{{{prefix}:ranks:{made}/{ends_at}/{board.id}}}"
        copies = (f"{tag}:{what}{copy}" for copy in (0, 1) for what in ("order", "owners"))
        self.keys = (f"{tag}:state", f"{tag}:gone", f"{tag}:gone_at", *copies)
        self.news: dict[bytes, bytes] = {}
        self.late: dict[bytes, bytes] = {}
        """What could not be told when it happened: by now it may be long past, so it is read again first."""
        self.questions: list[Question] = []
        self.doubted = False
        """Whether some news was lost, so that the ranks are to be built anew."""
        self.refused = False
        """Whether the server would not have it; for a moment nothing is asked of it."""

    def set(self, owner: bytes, score: int, subscore: int, created_at: datetime, changes: int) -> None:
        """An owner's record is stored so; `changes` counts how often it was changed since it was created."""
        self._tell(owner, news_of(owner, score, subscore, created_at, changes))

    def remove(self, owner: bytes, created_at: datetime) -> None:
        """An owner's record that was created then is gone."""
        self._tell(owner, news_of(owner, 0, 0, created_at, _NO_RECORD))

    def doubt(self) -> None:
        """It is unknown what is stored: build the ranks anew. Those that are there are answered meanwhile."""
        self.doubted = True
        self._sharing.asked(self)

    def look(self, owners: Sequence[bytes]) -> asyncio.Future[Standing | None]:
        """The ranks of up to OWNERS_MAX owners; None while they are not known: Valkey is away, or they are built."""
        answer: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        if self._sharing.up and not self.refused and not self.late:
            self.questions.append(Question(owners, answer))
            self._sharing.asked(self)
        else:
            answer.set_result(None)
        return answer

    def _tell(self, owner: bytes, news: bytes) -> None:
        if self.refused:
            return
        if self._sharing.up:
            self.news[owner] = news
            self._sharing.asked(self)
        else:
            self.late[owner] = news
            self._sharing.missed(self, 1)

    def forget(self) -> None:
        """The board is deleted."""
        self._sharing.forget(self)
