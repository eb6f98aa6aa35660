"""What nodes tell each other of boards: which were made or deleted, and that all writes to a period are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import asyncpg
import msgspec

from palestra.cluster.bus import ANSWER_SECONDS, Bus
from palestra.core.clock import Clock
from palestra.core.errors import PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.leaderboards.known import KnownBoards

CHANGED = "leaderboards.changed"
SETTLED = "leaderboards.settled"
BUS_DOWN_SECONDS = 5.0
"""How often all boards are read while nobody can be heard."""
RETRY_SECONDS = 1.0

log = get_logger(__name__)


class _End(msgspec.Struct, array_like=True):
    board_id: str
    at: int


class Neighbours:
    """The other nodes' boards. What is heard is looked up in the database: the bus says that, not what."""

    def __init__(self, bus: Bus, others: Callable[[], Iterable[str]], tasks: Tasks, clock: Clock) -> None:
        self.node = bus.node
        self._bus = bus
        self._others = others
        self._tasks = tasks
        self._now = clock.now
        self._boards: KnownBoards
        self._ids: set[str] = set()
        self._all = False
        self._checking = False

    def follow(self, boards: KnownBoards) -> None:
        """Begin to listen, for these boards."""
        self._boards = boards
        self._bus.on(CHANGED, self._heard)
        self._bus.answer(SETTLED, self._when_settled)
        self._bus.on_gap(lambda node: self.missed())
        self._bus.on_change(self._bus_changed)

    def changed(self, board_id: str) -> None:
        """This node has made or deleted a board."""
        self._bus.broadcast(CHANGED, board_id.encode())

    def missed(self) -> None:
        """Something another node said may have been lost."""
        self._all = True
        self._check()

    async def settled(self, board_id: str, at: int) -> None:
        """Wait until no other node has a write under way to what ended at a moment (unix seconds).

        A node that does not answer within five seconds is not waited for: it is gone, or as good as gone.
        """
        question = msgspec.msgpack.encode(_End(board_id, at))
        asked = [self._bus.ask(node, SETTLED, question) for node in self._others()]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, PalestraError):
                log.warning("an end is told without a node's word", leaderboard=board_id, reason=answer.message)
            elif isinstance(answer, BaseException):
                raise answer

    async def _when_settled(self, sender: str, payload: bytes) -> bytes:
        end = msgspec.msgpack.decode(payload, type=_End)
        # By its own clock this node may still take scores.
        while (seconds := end.at - self._now()) > 0:
            if seconds > ANSWER_SECONDS:
                raise Unavailable("The clocks of the nodes differ by seconds.")
            await asyncio.sleep(seconds)
        board = self._boards.known(end.board_id)
        if board is not None:
            await board.settled(self._now())
        return b""

    # -- what changed

    def _heard(self, sender: str, payload: bytes) -> None:
        self._ids.add(payload.decode())
        self._check()

    def _bus_changed(self, up: bool) -> None:
        if up:
            self.missed()
        else:
            self._tasks.spawn(self._while_down(), "boards of nodes that cannot be heard")

    async def _while_down(self) -> None:
        while not self._bus.up:
            self.missed()
            await asyncio.sleep(BUS_DOWN_SECONDS)

    def _check(self) -> None:
        if not self._checking:
            self._checking = True
            self._tasks.spawn(self._look(), "boards of other nodes")

    async def _look(self) -> None:
        try:
            while self._ids or self._all:
                ids, everything = self._ids, self._all
                self._ids, self._all = set(), False
                try:
                    await (self._boards.check_all() if everything else self._boards.check(sorted(ids)))
                except (PalestraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    log.warning("boards of other nodes are not known yet", error=repr(error))
                    self._ids |= ids
                    self._all |= everything
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._checking = False
