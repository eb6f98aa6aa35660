"""The authoritative matches of this node: beginning, finding, feeding and ending them."""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from palestra.core.clock import Clock
from palestra.core.config import MatchSettings
from palestra.core.errors import PalestraError
from palestra.core.ids import new_id
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks, ends_task, set_within
from palestra.features.matches.actor import Actor
from palestra.features.matches.contract import (
    BadMatchParams,
    CannotMove,
    EndMatch,
    Joined,
    MatchFailed,
    MatchGames,
    MatchHandler,
    MatchInfo,
    MatchNotFound,
    ShuttingDown,
    TooManyMatches,
    UnknownMatchHandler,
)
from palestra.features.matches.desk import Desk
from palestra.features.matches.directory import Directory
from palestra.features.matches.listing import Findable
from palestra.features.matches.pace import Pace
from palestra.features.matches.recording import Recordings
from palestra.features.matches.rules import split_match_id
from palestra.features.matches.scheduler import Scheduler
from palestra.features.matches.snapshot import Snapshot
from palestra.features.matches.steps import Surroundings
from palestra.features.streams.contract import MATCH, Member, Presences, Stream
from palestra.gateway.operation import Session

log = get_logger(__name__)

_seeds = random.SystemRandom()


class Mover(Protocol):
    """Takes matches to other nodes."""

    async def hand_over(self, actors: list[Actor], seconds: float) -> None:
        """Hand over those that can move; none is begun with after `seconds`."""
        ...

    def left(self, stream: Stream, members: Sequence[Member]) -> None:
        """Members have left a match that does not run here."""
        ...


class Keeper(Protocol):
    """Keeps snapshots of matches where other nodes find them."""

    def keep(self, actor: Actor) -> None:
        """Keep what there is of a match now."""
        ...

    def forget(self, match: str) -> None:
        """A match has ended."""
        ...

    async def forgotten(self, actor: Actor) -> None:
        """Forget a match of this node, and wait until that is done."""
        ...

    def measure(self, metrics: Metrics) -> None:
        """Show how they are kept."""
        ...


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
        directory: Directory | None = None,
    ) -> None:
        self.pace = Pace(clock.monotonic)
        self.scheduler = Scheduler(clock.monotonic)
        self.node = node
        self._games = games
        self._settings = settings
        self._clock = clock
        self._recordings = recordings
        self._presences = presences
        self._running: dict[str, Actor] = {}
        self._directory = directory
        self._unkept: set[str] = set()
        if directory is not None:
            directory.own = self._running
        relabelled = _nobody_asks if directory is None else directory.relabelled
        self._around = Surroundings(presences, settings, tasks, self.pace, self._ended, relabelled, self._checkpoint)
        self.moves = dict.fromkeys(("given", "taken", "adopted"), 0)
        """Matches that went to other nodes, came from them, and were those of nodes that died."""
        self.mover: Mover | None = None
        self.keeper: Keeper | None = None
        self._beginning = 0
        self._draining = False
        self._none_left: asyncio.Event | None = None
        presences.watch(MATCH, self._moved)

    # -- beginning and ending

    async def create(self, name: str, params: Any) -> Actor:
        """Begin a match. Raises as `Matches.create` does."""
        handler = self._handler_for_one_more(name)
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
        self.admit(actor)
        return actor

    def admit(self, actor: Actor) -> None:
        """Let a match be found and tick."""
        self._running[actor.stream.subject] = actor
        if self._directory is not None:
            self._directory.begun(actor)
        self.scheduler.add(actor)

    def restored(self, snapshot: Snapshot) -> Actor:
        """A match as it was on another node; it is not to be found yet, and does not tick.

        Raises ShuttingDown, TooManyMatches, UnknownMatchHandler, CannotMove.
        """
        handler = self._handler_for_one_more(snapshot.name)
        match, home = split_match_id(snapshot.match_id)
        desk = self._desk(snapshot.match_id, handler, seed=0)
        recording = self._recordings.begin(desk, handler, 0, snapshot.tick_number)
        actor = Actor(desk, handler.begin(desk), Stream(MATCH, match, label=home), self._around, recording)
        self._count_ticks(actor, handler)
        try:
            actor.restore(snapshot)
        except BaseException as error:
            if recording is not None:
                recording.failed(error)
                recording.close(whole=False)
            if ends_task(error) or isinstance(error, PalestraError | KeyboardInterrupt):
                raise
            log.error("match cannot go on here", match=snapshot.name, match_id=snapshot.match_id, exc_info=error)
            raise CannotMove(f"restore failed: {error}") from None
        return actor

    def _count_ticks(self, actor: Actor, handler: MatchHandler) -> None:
        if self.keeper is not None:
            actor.checkpoint_ticks = handler.checkpoint_ticks
        elif handler.checkpoint_ticks and self._directory is not None and handler.name not in self._unkept:
            self._unkept.add(handler.name)
            log.warning("checkpoints need a redis_url: without, these matches end with their node", match=handler.name)

    def let_go(self, actor: Actor, otherwise: BaseException, reason: str) -> None:
        """A match is another node's from now on: nothing is said to anybody."""
        self._forget(actor)
        actor.let_go(otherwise, reason)

    def let_all_go(self) -> None:
        """This node was given up by the others, and so are its matches."""
        for actor in list(self._running.values()):
            self.let_go(actor, EndMatch(), "given up")

    def _handler_for_one_more(self, name: str) -> MatchHandler:
        if self._draining:
            raise ShuttingDown
        if len(self._running) + self._beginning >= self._settings.running_max:
            raise TooManyMatches(self._settings.running_max)
        handler = self._games.match_handlers.get(name)
        if handler is None:
            raise UnknownMatchHandler(name, *difflib.get_close_matches(name, self._games.match_handlers, 1, 0.4))
        return handler

    def _desk(self, match_id: str, handler: MatchHandler, seed: int) -> Desk:
        return Desk(
            match_id,
            handler,
            node=self.node,
            started_at=self._clock.now(),
            seed=seed,
            deferred_max=self._settings.deferred_queue_max,
        )

    async def _begun(self, handler: MatchHandler, params: bytes) -> Actor:
        seed = _seeds.getrandbits(64)
        stream = Stream(MATCH, new_id(), label=self.node)
        desk = self._desk(f"{stream.subject}.{self.node}", handler, seed)
        recording = self._recordings.begin(desk, handler, seed)
        try:
            actor = Actor(desk, handler.begin(desk), stream, self._around, recording)
            self._count_ticks(actor, handler)
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
        known = actor.stream.subject in self._running
        self._forget(actor)
        if known and self._directory is not None:
            self._directory.ended(actor)
        if self.keeper is not None and actor.checkpoint_ticks:
            self.keeper.forget(actor.stream.subject)

    def _checkpoint(self, actor: Actor) -> None:
        if self.keeper is not None:
            self.keeper.keep(actor)

    def _forget(self, actor: Actor) -> None:
        self.scheduler.remove(actor)
        self._running.pop(actor.stream.subject, None)
        if self._none_left is not None and not self._running:
            self._none_left.set()

    async def drain(self, seconds: float) -> None:
        """Begin no more matches, hand over those that can move, end the others.

        They are told to come to their end, and are stopped if they have not within `seconds`.
        """
        self._draining = True
        if self.mover is not None:
            until = self._around.pace.monotonic() + seconds
            await self.mover.hand_over(list(self._running.values()), seconds / 2)
            seconds = max(0.0, until - self._around.pace.monotonic())
        if seconds > 0:
            for actor in list(self._running.values()):
                actor.terminate(seconds)
        if self._running and seconds > 0 and self.scheduler.driven_by_time:
            self._none_left = asyncio.Event()
            await set_within(self._none_left, seconds)
        for actor in list(self._running.values()):
            actor.stop()
        self.scheduler.stop()
        await self._recordings.stop()

    # -- finding

    def find(self, match: str, node: str) -> Actor | None:
        """A running match by the two parts of its id."""
        actor = self._running.get(match)
        return actor if actor is not None and actor.stream.label == node else None

    def look(self, match: str, node: str) -> Findable | None:
        """A match of this node, or one that another node has told of."""
        return self.find(match, node) or (None if self._directory is None else self._directory.find(match, node))

    def found(self, match: str, node: str) -> Actor:
        """A running match. Raises MatchNotFound."""
        actor = self.find(match, node)
        if actor is None:
            raise MatchNotFound
        return actor

    def newest_first(self) -> list[Findable]:
        """All running matches, those of other nodes as well. O(matches)."""
        own: list[Findable] = list(reversed(self._running.values()))
        if self._directory is None:
            return own
        others = (other for subject, other in self._directory.others.items() if subject not in self._running)
        return sorted([*own, *others], key=lambda match: match.desk.started_at, reverse=True)

    def size(self, match: Findable) -> int:
        """How many are in a match."""
        return len(self._presences.audience(match.stream))

    def info(self, match: Findable, size: int | None = None) -> MatchInfo:
        """A match as others see it."""
        desk = match.desk
        return MatchInfo(
            desk.id, self.size(match) if size is None else size, True, desk.label, desk.ticks_per_second, desk.name
        )

    # -- what happens in them

    async def join(self, actor: Actor, session: Session, metadata: dict[str, str]) -> Joined:
        """Join a match of this node. Raises as `Actor.join`."""
        own, new = await actor.join(session, metadata)
        return Joined(actor.desk.id, own, new, self._presences.visible(actor.stream), actor.desk.label)

    def receive(self, match: str, node: str, session_id: str, op_code: int, data: bytes, reliable: bool) -> bool:
        """Hand data of a member to its match; False if it is no member, or there is no such match here."""
        actor = self._running.get(match)
        if actor is None or node != actor.stream.label:
            return False
        return actor.receive(session_id, op_code, data, reliable, self._clock.now())

    def _moved(self, stream: Stream, joins: Sequence[Member], leaves: Sequence[Member]) -> None:
        actor = self._running.get(stream.subject)
        if actor is not None:
            for member in joins:
                actor.came(member)
            for member in leaves:
                actor.went(member)
        elif leaves and self.mover is not None:
            self.mover.left(stream, leaves)

    def measure(self, metrics: Metrics) -> None:
        """Show how many there are, and their pace."""

        def by_name() -> Iterable[tuple[tuple[str, ...], float]]:
            counts: dict[str, int] = dict.fromkeys(self._games.match_handlers, 0)
            for actor in self._running.values():
                counts[actor.desk.name] = counts.get(actor.desk.name, 0) + 1
            return [((name,), count) for name, count in counts.items()]

        metrics.gauge("palestra_matches", "Authoritative matches that run", ("match",), by_name)
        metrics.counter(
            "palestra_match_moves",
            "Matches that went from one node to another",
            ("what",),
            lambda: [((what,), count) for what, count in self.moves.items()],
        )
        if self.keeper is not None:
            self.keeper.measure(metrics)
        self.pace.measure(metrics)


def _nobody_asks(actor: Actor) -> None:
    """A node alone looks at labels where they are."""
