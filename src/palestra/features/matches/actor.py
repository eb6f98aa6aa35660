"""One running match: its callbacks one after the other, its queues, its members, its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable
from functools import partial
from typing import Any

from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.core.query import Document
from palestra.core.tasks import ends_task
from palestra.features.matches.contract import (
    EndMatch,
    JoinRejected,
    MatchBusy,
    MatchCode,
    MatchFailed,
    MatchMessage,
    MatchMoved,
    MatchNotFound,
    MatchPlayer,
    NotAcceptingJoins,
)
from palestra.features.matches.desk import Desk, Sending
from palestra.features.matches.recording import Recording
from palestra.features.matches.snapshot import Received, Since, Snapshot, messages_of, received_of
from palestra.features.matches.steps import Step, Surroundings, in_time, player_of, refuse
from palestra.features.matches.wire import MatchData, Origin, origin_of
from palestra.features.streams.contract import Audience, Member, Presence, Stream
from palestra.gateway.operation import Session
from palestra.gateway.push import Push

log = get_logger(__name__)

DISCONNECTED = "server-side session disconnect"
OWED_MAX = 128
"""Messages kept for a player whose join has not been answered yet."""
_ASKED = ("join_attempt", "signal")


class Actor:
    """Runs one match. Plain callbacks run at once; while an `async def` one waits, what happens to the match queues.

    Nothing that the match's code raises gets out of here: a failure ends this match, alone.
    """

    def __init__(
        self, desk: Desk, code: MatchCode, stream: Stream, around: Surroundings, recording: Recording | None
    ) -> None:
        self.desk = desk
        self.code = code
        self.stream = stream
        self.ticks_per_second = desk.ticks_per_second
        self.over = False
        self.failed = False
        self.indexed: tuple[int, Document] | None = None
        """What a listing keeps of the label, and of which version of it."""
        self.checkpoint_ticks = 0
        self._around = around
        self._presences = around.presences
        self._recording = recording
        self._busy = self._awaiting = self._frozen = False
        self._waiting: deque[Step] = deque()
        self._waiting_calls = self._waiting_attempts = self._waiting_signals = 0
        self._due: float | None = None
        self._tick_began = self._tick_due = 0.0
        self._input: list[MatchMessage] = []
        self._input_max = around.settings.input_queue_max
        self._admitting: MatchPlayer | None = None
        self._kicking = False
        self._step = "init"
        self._task: asyncio.Task[None] | None = None
        self._owed: dict[str, list[Push]] = {}
        self._empty_ticks = 0
        self._origin = Origin(stream, None)
        desk.outlet = self
        if recording is not None:
            recording.code = code

    # -- what happens to the match

    def begin(self, params: bytes) -> Awaitable[None] | None:
        """Run `init`; the match is not to be found by anybody yet."""
        if self._recording is not None:
            self._recording.note("init", (params,))
        return self.code.init(params)

    async def join(self, session: Session, metadata: dict[str, str]) -> tuple[Presence, bool]:
        """Ask the match to let a session in, and put it on the stream. Presence, and whether it is new.

        Raises JoinRejected, NotAcceptingJoins, MatchNotFound, SessionClosing.
        """
        member = self._presences.audience(self.stream).get(session.id)
        if member is not None:
            return member.presence, False
        if self._waiting_attempts >= self._around.settings.join_attempt_queue_max:
            raise NotAcceptingJoins
        player = player_of(session)
        answer: asyncio.Future[tuple[Presence, bool]] = asyncio.get_running_loop().create_future()
        then = partial(self._attempted, session, player, answer)
        self._waiting_attempts += 1
        self._do(Step("join_attempt", self.code.join_attempt, (player, metadata), then))
        return await in_time(answer, JoinRejected())

    def _attempted(
        self,
        session: Session,
        player: MatchPlayer,
        answer: asyncio.Future[tuple[Presence, bool]],
        _result: Any,
        error: BaseException | None,
    ) -> None:
        self._waiting_attempts -= 1
        if error is not None and not isinstance(error, PalestraError):
            refuse(answer, MatchNotFound() if isinstance(error, EndMatch) else MatchFailed())
            self._raised(error)
        elif answer.done():
            return
        elif error is not None:
            known = isinstance(error, JoinRejected | MatchMoved)
            answer.set_exception(error if known else JoinRejected(str(error)))
        elif self.desk.ended:
            answer.set_exception(MatchNotFound())
        else:
            self._admitting = player
            try:
                answer.set_result(self._presences.join(session, self.stream, persistence=False))
                # It is told that it is in, and who is, before anything that is said in there.
                session.after_reply(partial(self._answered, session))
            except PalestraError as refused:
                answer.set_exception(refused)
            finally:
                self._admitting = None

    def came(self, member: Member) -> None:
        """A session is on the stream: the match's `join` is the next thing that happens."""
        player = self._admitting
        if player is None:
            self.arrive(player_of(member.session))
            return
        self._owed[member.session.id] = []
        self._waiting_calls += 1
        self._waiting.appendleft(Step("join", self._join, (player,), self._called))

    def arrive(self, player: MatchPlayer) -> None:
        """A player is there whose admission this node knows nothing of: another node gave it."""
        if player.session_id not in self.desk.players:
            self._call(Step("arrive", self._join, (player,), self._called))

    def _join(self, player: MatchPlayer) -> Any:
        self.desk.arrive(player)
        return self.code.join([player])

    def _answered(self, session: Session) -> None:
        for push in self._owed.pop(session.id, ()):
            session.send(push)

    def went(self, member: Member) -> None:
        """A session has left the stream."""
        session_id = member.presence.session_id
        self._owed.pop(session_id, None)
        gone = member.session.closing or member.session.away
        self.depart(session_id, "kick" if self._kicking else "disconnect" if gone else "leave")

    def depart(self, session_id: str, reason: str) -> None:
        """A player is no longer there."""
        if self._waiting and self._waiting[-1].name == "leave":
            # However many leave while the match is busy, it is one call.
            self._waiting[-1].arguments[0].append((session_id, reason))
        else:
            self._call(Step("leave", self._leave, ([(session_id, reason)],), self._called))

    def _leave(self, departures: list[tuple[str, str]]) -> Any:
        present = self.desk.players
        left = [self.desk.depart(session_id, reason) for session_id, reason in departures if session_id in present]
        return self.code.leave(left) if left else None

    def receive(self, session_id: str, op_code: int, data: bytes, reliable: bool, now: float) -> bool:
        """Queue what a member sent; False for anybody else."""
        sender = self.desk.players.get(session_id)
        if sender is None:
            return False
        if len(self._input) < self._input_max:
            self._input.append(MatchMessage(sender, op_code, data, reliable, now))
        else:
            self._around.pace.drop(self.desk.name, self.desk.id)
        return True

    async def signal(self, data: str) -> str:
        """Hand over text; the answer. Raises MatchBusy, MatchFailed, MatchNotFound, what the match raises."""
        if self._waiting_signals >= self._around.settings.signal_queue_max:
            raise MatchBusy
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting_signals += 1
        self._do(Step("signal", self.code.signal, (data,), partial(self._signalled, answer)))
        return await in_time(answer, MatchBusy())

    def _signalled(self, answer: asyncio.Future[str], result: Any, error: BaseException | None) -> None:
        self._waiting_signals -= 1
        if error is None or isinstance(error, PalestraError):
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)
            return
        refuse(answer, MatchNotFound() if isinstance(error, EndMatch) else MatchFailed())
        self._raised(error)

    def terminate(self, grace_seconds: float) -> None:
        """Tell the match that the node will stop."""
        self._call(Step("terminate", self.code.terminate, (grace_seconds,), self._called))

    def _called(self, _result: Any, error: BaseException | None) -> None:
        self._waiting_calls -= 1
        if error is not None:
            self._raised(error)

    # -- ticks

    def tick(self, due: float) -> None:
        """Tick, at once or as soon as the match has finished what it is about."""
        if self._busy:
            if self._due is None:
                self._due = due
            else:
                self.missed(1)
            return
        self._due = due
        self._busy = True
        self._work(self._tick_step())

    def missed(self, ticks: int) -> None:
        """Ticks that will not take place."""
        self._around.pace.skipped(self.desk.name, ticks)

    def _tick_step(self) -> Step:
        messages, self._input = self._input, []
        self._tick_due, self._due = self._due or 0.0, None
        self._tick_began = self._around.pace.monotonic()
        return Step("tick", self.code.tick, (messages,), self._ticked)

    def _ticked(self, _result: Any, error: BaseException | None) -> None:
        desk, pace = self.desk, self._around.pace
        began = self._tick_began
        pace.ticked(desk.name, desk.id, began - self._tick_due, pace.monotonic() - began, 1 / self.ticks_per_second)
        if error is not None:
            self._raised(error)
            return
        desk.tick_number += 1
        if self.checkpoint_ticks and desk.tick_number % self.checkpoint_ticks == 0:
            self._around.checkpoint(self)
        if desk.players:
            self._empty_ticks = 0
            return
        self._empty_ticks += 1
        seconds_max = self._around.settings.max_empty_seconds
        if seconds_max and self._empty_ticks >= seconds_max * self.ticks_per_second:
            desk.end()

    # -- one thing after the other

    def _call(self, step: Step) -> None:
        """Do a step that nobody waits for; a match that has too many of them before it is beyond help."""
        self._waiting_calls += 1
        if self._busy and not self._frozen and self._waiting_calls > self._around.settings.call_queue_max:
            log.error(
                "match stopped: it does not get round to its players", match=self.desk.name, match_id=self.desk.id
            )
            self.fail()
        else:
            self._do(step)

    def _do(self, step: Step) -> None:
        if self._busy:
            self._waiting.append(step)
        else:
            self._busy = True
            self._work(step)

    def _work(self, step: Step | None) -> None:
        """Do a step and those that wait, until there is none or one of them has to wait itself."""
        while step is not None:
            if self._recording is not None:
                self._recording.note(step.name, step.arguments)
            self._step = step.name
            try:
                result = step.code(*step.arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._done(step, None, error)
            else:
                if result is not None and isinstance(result, Awaitable):
                    self._awaiting = True
                    self._task = self._around.tasks.spawn(self._rest(step, result), f"match {self.desk.id}")
                    return
                self._done(step, result, None)
            step = self._next()
        self._busy = False

    async def _rest(self, step: Step, result: Awaitable[Any]) -> None:
        try:
            value = await result
        except BaseException as error:
            if ends_task(error):
                raise
            self._awaiting = False
            self._done(step, None, error)
        else:
            self._awaiting = False
            self._done(step, value, None)
        self._work(self._next())

    def _next(self) -> Step | None:
        if self.over:
            return None
        if self._waiting:
            return self._waiting.popleft()
        return None if self._due is None else self._tick_step()

    def _done(self, step: Step, result: Any, error: BaseException | None) -> None:
        if self.over:
            # It was stopped while it waited.
            if step.name in _ASKED:
                step.then(None, EndMatch())
            return
        self.desk.send_deferred()
        step.then(result, error)
        if self._recording is not None and not self.over:
            self._recording.noted(step.name)
        if self.desk.ended:
            self.stop()

    async def at_rest(self) -> None:
        """Wait until no callback is being awaited."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    # -- what the match's code asks for

    def send(self, sending: Sending) -> None:
        """Send to members: one envelope, encoded once. Hot: see the bench of authoritative matches."""
        audience = self._presences.audience(self.stream)
        origin = self._origin if sending.sender is None else self._origin_of(sending.sender, audience)
        push = MatchData(origin, b"%d" % sending.op_code, sending.data, raw=True, reliable=sending.reliable)
        if sending.to is None:
            members: Iterable[Member] = audience.values()
        else:
            chosen = dict.fromkeys(player.session_id for player in sending.to)
            members = [audience[session_id] for session_id in chosen if session_id in audience]
        if self._owed:
            for member in members:
                self._send_or_keep(member, push)
        else:
            for member in members:
                member.session.send(push)

    def _origin_of(self, sender: MatchPlayer, audience: Audience) -> Origin:
        member = audience.get(sender.session_id)
        if member is not None:
            return origin_of(self.stream, member)
        return Origin(self.stream, Presence(sender.id, sender.session_id, sender.username))

    def _send_or_keep(self, member: Member, push: Push) -> None:
        owed = self._owed.get(member.session.id)
        if owed is None:
            member.session.send(push)
        elif len(owed) < OWED_MAX:
            owed.append(push)
        else:
            member.session.close("session outgoing queue full")

    def kick(self, players: Iterable[MatchPlayer]) -> None:
        """Remove members."""
        self._kicking = True
        try:
            for player in players:
                self._presences.leave(player.session_id, self.stream)
        finally:
            self._kicking = False

    def relabelled(self) -> None:
        """The label is another one."""
        self._around.relabelled(self)

    # -- going to another node

    async def freeze(self, seconds: float) -> bool:
        """Come to rest and stay there: what happens from now on waits. False if it did not come to rest in time."""
        try:
            async with asyncio.timeout(seconds):
                while self._busy and not self.over:
                    await self.at_rest()
                    await asyncio.sleep(0)
        except TimeoutError:
            return False
        if self.over:
            return False
        self._busy = self._frozen = True
        return True

    def thaw(self) -> None:
        """Go on here after all."""
        if not self.over:
            self._frozen = False
            self._work(self._next())

    def snapshot(self) -> Snapshot:
        """All that there is; between two callbacks. Raises CannotMove."""
        desk = self.desk
        return Snapshot(
            desk.id,
            desk.name,
            desk.started_at,
            desk.tick_number,
            self._empty_ticks,
            desk.label,
            desk.random.getstate(),
            list(desk.players.values()),
            received_of(self._input, desk.players),
            self.code.snapshot(),
        )

    def since(self, snapshot: Snapshot) -> Since:
        """What has happened while it was frozen."""
        arrivals = [step.arguments[0] for step in self._waiting if step.name == "arrive"]
        departures = [one for step in self._waiting if step.name == "leave" for one in step.arguments[0]]
        fresh = self._input[len(snapshot.received.messages) :]
        return Since(self.desk.id, received_of(fresh, self.desk.players), arrivals, departures)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was made, in the place of `begin`. Raises CannotMove, and what the code raises."""
        if self._recording is not None:
            self._recording.note("restore", (snapshot,))
        self.desk.go_on(snapshot)
        self.code.restore(snapshot.code)
        self._empty_ticks = snapshot.empty_ticks
        self.take_in(snapshot.received)

    def take_in(self, received: Received) -> None:
        """Queue what came in at another node."""
        self._input += messages_of(received, self.desk.players)

    # -- the end

    def _raised(self, error: BaseException) -> None:
        """The match's code ended the match, or failed."""
        if isinstance(error, EndMatch):
            self.desk.end()
            return
        if self._recording is not None:
            self._recording.failed(error)
        self._around.pace.failed(self.desk.name)
        log.error("match failed", match=self.desk.name, match_id=self.desk.id, callback=self._step, exc_info=error)
        self.fail()

    def fail(self) -> None:
        """Stop, and disconnect the members: what they know of the match may be wrong."""
        members = list(self._presences.audience(self.stream).values())
        self.failed = True
        self.stop()
        for member in members:
            member.session.close(DISCONNECTED)

    def stop(self) -> None:
        """End the match without a word to its members."""
        if self.over:
            return
        self.over = True
        self.desk.send_deferred()
        self._around.over(self)
        self._presences.close(self.stream)
        self._close(EndMatch(), "over")

    def let_go(self, otherwise: BaseException, reason: str) -> None:
        """End here without a word to anybody: the match is another node's. Who waits for an answer is told."""
        self.over = True
        self._close(otherwise, reason)

    def _close(self, otherwise: BaseException, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for step in waiting:
            if step.name in _ASKED:
                step.then(None, otherwise)
        if self._recording is not None:
            self._recording.close(whole=not (self.failed or self._awaiting), reason=reason)
