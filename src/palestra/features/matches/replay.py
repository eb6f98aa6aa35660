"""Running a recorded match again, without a platform, and comparing its states with the record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from palestra.core.errors import PalestraError, SetupError
from palestra.features.matches.contract import EndMatch, MatchHandler, MatchMessage, MatchPlayer
from palestra.features.matches.desk import Desk
from palestra.features.matches.record import (
    FORMAT,
    Attempt,
    End,
    Entry,
    Failed,
    Heading,
    Init,
    Join,
    Leave,
    Restored,
    Signal,
    State,
    Terminate,
    Tick,
    error_text,
    hash_of,
    read_entry,
    read_heading,
)
from palestra.features.matches.snapshot import Snapshot, decode_snapshot


class Replayed(msgspec.Struct):
    """How a replay went: ticks run, states compared, and where it first differed ("" where it did not)."""

    ticks: int = 0
    compared: int = 0
    difference: str = ""
    error: BaseException | None = None
    """What the match raised at the end, in the record as well if there is no difference."""
    ended: str = ""
    """Why the record ends; "" if it breaks off."""


def heading_of(first_line: bytes) -> Heading:
    """Which match it is. Raises SetupError for what is no record."""
    try:
        heading = read_heading(first_line)
    except msgspec.DecodeError as error:
        raise SetupError(f"this is no record of a match: {error}") from None
    if heading.format != FORMAT:
        raise SetupError(f"this record has format {heading.format}; this version of Palestra reads format {FORMAT}")
    return heading


async def replay(heading: Heading, lines: Iterable[bytes], handler: MatchHandler) -> Replayed:
    """Run a match again up to the first difference. A last line that breaks off is ignored."""
    run = _Run(heading, handler)
    for line in lines:
        try:
            entry = read_entry(line)
        except msgspec.DecodeError:
            break
        await run.step(entry)
        if run.outcome.difference or run.outcome.ended:
            break
    return run.result()


class _Run:
    def __init__(self, heading: Heading, handler: MatchHandler) -> None:
        self.outcome = Replayed()
        self._desk = Desk(
            heading.match_id,
            handler,
            node=heading.node,
            started_at=heading.started_at,
            seed=heading.seed,
            deferred_max=heading.deferred_max,
        )
        self._desk.ticks_per_second = heading.ticks_per_second
        self._code = handler.begin(self._desk)
        self._players: dict[str, MatchPlayer] = {}
        self._last = ""

    async def step(self, entry: Entry) -> None:
        """One line of the record."""
        match entry:
            case State():
                self._compare(entry)
            case Failed():
                self._compare_error(entry)
            case End():
                self.outcome.ended = entry.reason
            case _ if self.outcome.error is not None:
                self._differs(f"{self._last} raised {error_text(self.outcome.error)}, in the record it did not")
            case _:
                await self._callback(entry)

    def result(self) -> Replayed:
        """How it went."""
        self.outcome.ticks = self._desk.tick_number
        return self.outcome

    async def _callback(self, entry: Entry) -> None:
        self._last = str(entry.__struct_config__.tag)
        try:
            await self._run(entry)
        except EndMatch:
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Of these two an expected error is an answer.
            if not (isinstance(error, PalestraError) and isinstance(entry, Attempt | Signal)):
                self.outcome.error = error
                return
        self._desk.send_deferred()
        if isinstance(entry, Tick):
            self._desk.tick_number += 1

    async def _run(self, entry: Entry) -> None:
        code = self._code
        match entry:
            case Init():
                await _done(code.init, entry.params)
            case Attempt():
                self._players[entry.player.session_id] = entry.player
                await _done(code.join_attempt, entry.player, entry.metadata)
            case Restored():
                self._restore(decode_snapshot(entry.snapshot))
            case Join():
                player = entry.player or self._players[entry.session_id]
                self._players[player.session_id] = player
                self._desk.arrive(player)
                await _done(code.join, [player])
            case Leave():
                present = self._desk.players
                left = [self._desk.depart(*departure) for departure in entry.departures if departure[0] in present]
                if left:
                    await _done(code.leave, left)
            case Tick():
                await _done(code.tick, [self._message(*msgspec.structs.astuple(one)) for one in entry.messages])
            case Signal():
                await _done(code.signal, entry.data)
            case Terminate():
                await _done(code.terminate, entry.grace_seconds)
            case _:
                raise AssertionError(entry)

    def _restore(self, snapshot: Snapshot) -> None:
        self._desk.go_on(snapshot)
        self._code.restore(snapshot.code)
        self._players = {one.session_id: one for one in (*snapshot.received.gone, *snapshot.players)}

    def _message(self, session_id: str, op_code: int, data: bytes, reliable: bool, received_at: float) -> MatchMessage:
        return MatchMessage(self._players[session_id], op_code, data, reliable, received_at)

    def _compare(self, state: State) -> None:
        if self.outcome.error is not None:
            self._differs(f"{self._last} raised {error_text(self.outcome.error)}, in the record it did not")
            return
        self.outcome.compared += 1
        if self._desk.tick_number != state.ticks:
            self._differs(f"the record counts {state.ticks} ticks")
        elif hash_of(self._code.written_state(), self._desk.label) != state.hash:
            self._differs("the state is not that of the record")

    def _compare_error(self, recorded: Failed) -> None:
        came = "nothing" if self.outcome.error is None else error_text(self.outcome.error)
        if came != recorded.error:
            self._differs(f"in the record {self._last} raised {recorded.error}; now it raised {came}")

    def _differs(self, text: str) -> None:
        self.outcome.difference = text


async def _done(code: Callable[..., Any], *arguments: Any) -> None:
    result = code(*arguments)
    if isinstance(result, Awaitable):
        await result
