"""The authoritative matches of this node: beginning, finding, feeding and ending them."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from palestra.core.clock import Clock
from palestra.core.config import MatchSettings
from palestra.core.ids import new_id
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks, ends_task
from palestra.features.matches.actor import Actor, Surroundings
from palestra.features.matches.contract import (
    BadMatchParams,
    MatchFailed,
    MatchGames,
    MatchHandler,
    MatchNotFound,
    ShuttingDown,
    TooManyMatches,
    UnknownMatchHandler,
)
from palestra.features.matches.desk import Desk
from palestra.features.matches.pace import Pace
from palestra.features.matches.recording import Recordings
from palestra.features.matches.scheduler import Scheduler
from palestra.features.streams.contract import MATCH, Member, Presences, Stream
from palestra.gateway.operation import Session

log = get_logger(__name__)

_seeds = random.SystemRandom()


class RunningMatches:
    """Owns the authoritative matches of this node. A match is found from the end of its `init` to its own end."""

    def __init__(
        self,
        presences: Presences,
        games: MatchGames,
        settings: MatchSettings,
        node: str,
        *,
        tasks: Tasks,
        clock: Clock,
        recordings: Recordings,
    ) -> None:
        self.pace = Pace(clock.monotonic)
        self.scheduler = Scheduler(clock.monotonic)
        self.node = node
        self._games = games
        self._settings = settings
        self._clock = clock
        self._recordings = recordings
        self._around = Surroundings(presences, settings, tasks, self.pace, self._ended)
        self._running: dict[str, Actor] = {}
        self._beginning = 0
        self._draining = False
        self._none_left: asyncio.Event | None = None
        presences.watch(MATCH, self._moved)

    # -- beginning and ending

    async def create(self, name: str, params: Any) -> Actor:
        """Begin a match. Raises as `Matches.create` does."""
        if self._draining:
            raise ShuttingDown
        if len(self._running) + self._beginning >= self._settings.running_max:
            raise TooManyMatches(self._settings.running_max)
        handler = self._games.match_handlers.get(name)
        if handler is None:
            raise UnknownMatchHandler(name, *difflib.get_close_matches(name, self._games.match_handlers, 1, 0.4))
        try:
            written = msgspec.msgpack.encode(params)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadMatchParams(f"The parameters of a match {name!r} cannot be written: {error}") from None
        self._beginning += 1
        try:
            actor = await self._begun(handler, written)
        finally:
            self._beginning -= 1
        if self._draining:
            actor.stop()
            raise ShuttingDown
        self._running[actor.stream.subject] = actor
        self.scheduler.add(actor)
        return actor

    async def _begun(self, handler: MatchHandler, params: bytes) -> Actor:
        seed = _seeds.getrandbits(64)
        stream = Stream(MATCH, new_id(), label=self.node)
        desk = Desk(
            f"{stream.subject}.{self.node}",
            handler,
            node=self.node,
            started_at=self._clock.now(),
            seed=seed,
            deferred_max=self._settings.deferred_queue_max,
        )
        recording = self._recordings.begin(desk, handler, seed)
        try:
            actor = Actor(desk, handler.begin(desk), stream, self._around, recording)
            waiting = actor.begin(params)
            if waiting is not None:
                await waiting
            return actor
        except BaseException as error:
            if recording is not None:
                recording.failed(error)
                recording.close(whole=False)
            if ends_task(error) or isinstance(error, BadMatchParams | KeyboardInterrupt):
                raise
            self.pace.failed(handler.name)
            log.error("match failed to begin", match=handler.name, exc_info=error)
            raise MatchFailed from None

    async def at_rest(self) -> None:
        """Wait until no match is about anything: for tests, after `Scheduler.step`."""
        for actor in list(self._running.values()):
            await actor.at_rest()

    def _ended(self, actor: Actor) -> None:
        self.scheduler.remove(actor)
        self._running.pop(actor.stream.subject, None)
        if self._none_left is not None and not self._running:
            self._none_left.set()

    async def drain(self, seconds: float) -> None:
        """Begin no more matches, tell all to come to their end, and stop those that have not within `seconds`."""
        self._draining = True
        if seconds > 0:
            for actor in list(self._running.values()):
                actor.terminate(seconds)
        if self._running and seconds > 0 and self.scheduler.driven_by_time:
            self._none_left = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), seconds)
        for actor in list(self._running.values()):
            actor.stop()
        self.scheduler.stop()
        await self._recordings.stop()

    # -- finding

    def find(self, match: str, node: str) -> Actor | None:
        """A running match by the two parts of its id."""
        return self._running.get(match) if node == self.node else None

    def found(self, match: str, node: str) -> Actor:
        """A running match. Raises MatchNotFound."""
        actor = self.find(match, node)
        if actor is None:
            raise MatchNotFound
        return actor

    def newest_first(self) -> Iterator[Actor]:
        """All running matches."""
        return reversed(self._running.values())

    # -- what happens in them

    def receive(self, session: Session, match: str, node: str, *, op_code: int, data: bytes, reliable: bool) -> bool:
        """Hand data of a member to its match; False if it is no member, or there is no such match."""
        actor = self._running.get(match)
        if actor is None or node != self.node:
            return False
        return actor.receive(session.id, op_code, data, reliable, self._clock.now())

    def _moved(self, stream: Stream, joins: Sequence[Member], leaves: Sequence[Member]) -> None:
        actor = self._running.get(stream.subject)
        if actor is not None:
            for member in joins:
                actor.came(member)
            for member in leaves:
                actor.went(member)

    def measure(self, metrics: Metrics) -> None:
        """Show how many there are, and their pace."""

        def by_name() -> Iterable[tuple[tuple[str, ...], float]]:
            counts: dict[str, int] = dict.fromkeys(self._games.match_handlers, 0)
            for actor in self._running.values():
                counts[actor.desk.name] = counts.get(actor.desk.name, 0) + 1
            return [((name,), count) for name, count in counts.items()]

        metrics.gauge("palestra_matches", "Authoritative matches that run", ("match",), by_name)
        self.pace.measure(metrics)
