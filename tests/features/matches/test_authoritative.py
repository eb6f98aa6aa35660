"""Authoritative matches as their players and their game code meet them."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, ClassVar

import msgspec
import pytest

from palestra import EndMatch, Game, GameError, Match, MatchMessage, MatchPlayer
from palestra.core.config import MatchSettings
from palestra.core.errors import PalestraError
from palestra.features.matches.contract import (
    BadLabel,
    BadMatchParams,
    JoinRejected,
    MatchBusy,
    MatchFailed,
    MatchNotFound,
    NotAcceptingJoins,
    ShuttingDown,
    TooManyDeferred,
    TooManyMatches,
    UnknownMatchHandler,
)
from tests.features.listener import Listener
from tests.features.matches.games import Hall

game = Game("test")


class Params(msgspec.Struct):
    """How many may play."""

    seats: int = 2


class Table(msgspec.Struct):
    """What has happened."""

    events: list[str] = []


@game.match("table", ticks_per_second=10)
class TableMatch(Match[Table]):
    """Notes everything; op codes are orders."""

    def init(self, params: Params) -> Table:
        self.seats = params.seats
        self.label = {"seats": params.seats, "open": True}
        return Table()

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
        if self.player_count >= self.seats:
            raise GameError("full")
        if "wrong" in metadata:
            raise GameError("")

    def join(self, players: list[MatchPlayer]) -> None:
        self.state.events += [f"{player.username} joins" for player in players]
        self.broadcast(100, f"{players[0].username} of {self.player_count}")

    def leave(self, players: list[MatchPlayer]) -> None:
        self.state.events += [f"{player.username}: {player.left}" for player in players]

    def tick(self, messages: list[MatchMessage]) -> None:
        for message in messages:
            self.state.events.append(f"{message.sender.username} says {message.op_code} {message.text()}")
            self.order(message)

    def order(self, message: MatchMessage) -> None:
        match message.op_code:
            case 1:
                self.broadcast(1, message.data, sender=message.sender, reliable=False)
            case 2:
                self.broadcast(2, [1, {"a": None}], to=[message.sender, message.sender, stranger()])
            case 3:
                self.kick(*self.players)
                self.broadcast(3, "to nobody")
            case 4:
                self.broadcast(4, "last words", deferred=True)
                self.end()
            case 5:
                raise EndMatch
            case 6:
                raise ValueError("a bug")
            case 7:
                self.broadcast(7, "later", deferred=True)
                self.broadcast(7, "now")
            case 8:
                self.broadcast(8, to=[])
            case _:
                self.label = {"tick": self.tick_number}

    def signal(self, data: str) -> str:
        if data == "refuse":
            raise GameError("not now")
        if data == "break":
            raise ValueError("a bug")
        return json.dumps(self.state.events) if data == "events" else f"{data}?"


def stranger() -> MatchPlayer:
    return MatchPlayer("nobody", "nowhere", "stranger")


async def begun(hall: Hall, seats: int = 2) -> str:
    return await hall.matches.create("table", {"seats": seats})


async def events(hall: Hall, match_id: str) -> list[str]:
    return json.loads(await hall.matches.signal(match_id, "events"))


def said(player: Listener) -> list[tuple[str, bytes, str]]:
    """What the match sent: op code, data, and the name of the sender."""
    return [
        (one.get("op_code", "0"), base64.b64decode(one.get("data", "")), one.get("presence", {}).get("username", ""))
        for one in player.take("match_data")
    ]


async def test_a_joiner_hears_the_reply_first_then_who_is_in_then_what_the_match_says() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    ann = Listener("ann")
    joined = await hall.matches.join(ann, match_id, {"any": "thing"})
    assert (joined.match_id, joined.label, joined.new) == (match_id, '{"seats":2,"open":true}', True)
    await hall.tick()
    assert ann.heard == []
    ann.reply()
    event, data = ann.heard
    assert event["match_presence_event"]["joins"][0]["username"] == "ann"
    assert data["match_data"] == {
        "match_id": match_id,
        "op_code": "100",
        "data": base64.b64encode(b"ann of 1").decode(),
        "reliable": True,
    }


async def test_a_match_refuses_with_its_own_words_and_asks_nobody_twice() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    ann, bob = await hall.enter(match_id, "ann", "bob")
    assert (await hall.matches.join(ann, match_id, {})).new is False
    with pytest.raises(JoinRejected, match=r"^full$"):
        await hall.matches.join(Listener("eve"), match_id, {})
    hall.matches.leave(bob, match_id)
    with pytest.raises(JoinRejected, match=r"^Match join rejected$"):
        await hall.matches.join(Listener("eve"), match_id, {"wrong": ""})
    assert await events(hall, match_id) == ["ann joins", "bob joins", "bob: leave"]


async def test_messages_come_with_the_next_tick_in_their_order_from_members_only() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    ann, bob = await hall.enter(match_id, "ann", "bob")
    assert hall.say(ann, match_id, 1, b"hi")
    assert hall.say(bob, match_id, 9, b"\xff")
    assert hall.say(ann, match_id, 2)
    assert not hall.say(Listener("eve"), match_id, 1, b"psst")
    assert not hall.say(ann, match_id.replace(".node", ".other"), 1)
    assert said(ann) == []
    await hall.tick()
    assert (await events(hall, match_id))[2:] == ["ann says 1 hi", "bob says 9 \ufffd", "ann says 2 "]
    assert said(ann) == [("1", b"hi", "ann"), ("2", b'[1,{"a":null}]', "")]
    assert said(bob) == [("1", b"hi", "ann")]


async def test_a_flood_of_messages_is_cut_at_the_limit_and_counted() -> None:
    hall = Hall(game, settings=MatchSettings(input_queue_max=5))
    match_id = await begun(hall)
    (ann,) = await hall.enter(match_id, "ann")
    for _ in range(1_000):
        assert hall.say(ann, match_id, 1, b"x")
    await hall.tick()
    assert len(said(ann)) == 5
    assert hall.running.pace.dropped == 995


async def test_what_is_deferred_goes_out_after_the_callback_and_an_empty_list_is_nobody() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    (ann,) = await hall.enter(match_id, "ann")
    hall.say(ann, match_id, 7)
    hall.say(ann, match_id, 8)
    await hall.tick()
    assert said(ann) == [("7", b"now", ""), ("7", b"later", "")]


async def test_the_kicked_are_out_at_once_and_told_nothing() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    ann, bob = await hall.enter(match_id, "ann", "bob")
    hall.say(ann, match_id, 3)
    await hall.tick()
    assert (await events(hall, match_id))[-2:] == ["ann: kick", "bob: kick"]
    ann.reply()
    bob.reply()
    assert (said(ann), said(bob)) == ([], [])
    assert not hall.say(ann, match_id, 1)


async def test_however_many_are_kicked_at_once_it_is_one_leave() -> None:
    hall = Hall(game, settings=MatchSettings(call_queue_max=3))
    match_id = await begun(hall, seats=500)
    players = await hall.enter(match_id, *[f"p{number}" for number in range(300)])
    hall.say(players[0], match_id, 3)
    await hall.tick()
    assert (await events(hall, match_id))[-300:] == [f"p{number}: kick" for number in range(300)]


async def test_a_lost_connection_is_told_from_a_leave() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    ann, bob = await hall.enter(match_id, "ann", "bob")
    hall.drop(ann)
    hall.matches.leave(bob, match_id)
    assert (await events(hall, match_id))[-2:] == ["ann: disconnect", "bob: leave"]


@pytest.mark.parametrize(("op_code", "last"), [(4, [("4", b"last words", "")]), (5, [])])
async def test_a_match_ends_without_a_word_but_its_own(op_code: int, last: list[Any]) -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    (ann,) = await hall.enter(match_id, "ann")
    hall.say(ann, match_id, op_code)
    await hall.tick(2)
    ann.reply()
    assert said(ann) == last
    assert ann.take() == []
    assert not ann.closing
    assert await hall.matches.get(match_id) is None
    with pytest.raises(MatchNotFound):
        await hall.matches.join(Listener("bob"), match_id, {})
    with pytest.raises(MatchNotFound):
        await hall.matches.signal(match_id, "x")


async def test_a_match_that_raises_ends_alone_and_its_players_are_disconnected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hall = Hall(game)
    bad, good = await begun(hall), await begun(hall)
    (ann,), (bob,) = await hall.enter(bad, "ann"), await hall.enter(good, "bob")
    hall.say(ann, bad, 6)
    hall.say(bob, good, 1, b"still here")
    await hall.tick(2)
    assert (ann.closing, bob.closing) == (True, False)
    assert said(bob) == [("1", b"still here", "bob")]
    assert [one.match_id for one in await hall.matches.list()] == [good]
    log = capsys.readouterr().out
    assert bad in log
    assert "ValueError: a bug" in log
    assert hall.running.pace.failures == {"table": 1}


async def test_signals_are_answered_and_refusals_come_back() -> None:
    hall = Hall(game)
    match_id = await begun(hall)
    assert await hall.matches.signal(match_id, "well") == "well?"
    with pytest.raises(GameError, match="not now"):
        await hall.matches.signal(match_id, "refuse")
    with pytest.raises(MatchFailed):
        await hall.matches.signal(match_id, "break")
    assert await hall.matches.get(match_id) is None


async def test_what_cannot_begin_says_why() -> None:
    hall = Hall(game, settings=MatchSettings(running_max=1))
    with pytest.raises(UnknownMatchHandler, match="did you mean 'table'"):
        await hall.matches.create("tabel")
    with pytest.raises(BadMatchParams, match="seats"):
        await hall.matches.create("table", {"seats": "two"})
    with pytest.raises(BadMatchParams, match="cannot be written"):
        await hall.matches.create("table", object())
    await begun(hall)
    with pytest.raises(TooManyMatches, match=r"match\.running_max"):
        await begun(hall)


async def test_an_empty_match_ends_after_its_time_where_one_is_set() -> None:
    hall = Hall(game, settings=MatchSettings(max_empty_seconds=2))
    match_id = await begun(hall)
    (ann,) = await hall.enter(match_id, "ann")
    await hall.tick(30)
    hall.matches.leave(ann, match_id)
    await hall.tick(19)
    assert await hall.matches.get(match_id) is not None
    await hall.tick()
    assert await hall.matches.get(match_id) is None


# -- matches that wait

slow = Game("slow")


@slow.match("slow", ticks_per_second=10)
class Slow(Match[Table]):
    """Everything waits until the test opens the gate."""

    gates: ClassVar[dict[str, asyncio.Event]] = {}
    inside = 0

    def init(self) -> Table:
        return Table()

    async def _wait(self, name: str) -> None:
        assert self.inside == 0
        self.inside += 1
        if name in self.gates:
            await self.gates[name].wait()
        self.inside -= 1
        self.state.events.append(name)

    async def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
        await self._wait("attempt")
        if self.player_count >= 2:
            raise GameError("full")

    async def join(self, players: list[MatchPlayer]) -> None:
        await self._wait(f"join {players[0].username}")

    async def leave(self, players: list[MatchPlayer]) -> None:
        await self._wait("leave")

    async def tick(self, messages: list[MatchMessage]) -> None:
        await self._wait(f"tick {self.tick_number}")

    async def signal(self, data: str) -> str:
        if data == "events":
            return json.dumps(self.state.events)
        await self._wait("signal")
        return data

    async def terminate(self, grace_seconds: float) -> None:
        await self._wait("terminate")
        self.end()


@pytest.fixture
def gates() -> dict[str, asyncio.Event]:
    Slow.gates.clear()
    return Slow.gates


async def test_callbacks_that_wait_never_overlap_and_a_match_is_never_overfull(gates: dict[str, asyncio.Event]) -> None:
    hall = Hall(slow)
    match_id = await hall.matches.create("slow")
    gates["attempt"] = asyncio.Event()
    joins = [asyncio.create_task(hall.matches.join(Listener(name), match_id, {})) for name in "abc"]
    await asyncio.sleep(0)
    signal = asyncio.create_task(hall.matches.signal(match_id, "events"))
    await asyncio.sleep(0)
    gates["attempt"].set()
    done = await asyncio.gather(*joins, return_exceptions=True)
    assert [str(one) for one in done if isinstance(one, BaseException)] == ["full"]
    assert json.loads(await signal) == ["attempt", "join a", "attempt", "join b", "attempt"]


async def test_a_tick_that_falls_due_while_the_match_waits_is_late_and_the_next_ones_are_missed(
    gates: dict[str, asyncio.Event],
) -> None:
    hall = Hall(slow)
    match_id = await hall.matches.create("slow")
    gates["tick 1"] = asyncio.Event()
    await hall.tick()
    for _ in range(4):
        hall.running.scheduler.step()
    assert hall.running.pace.missed == {"slow": 2}
    gates["tick 1"].set()
    await hall.running.at_rest()
    assert json.loads(await hall.matches.signal(match_id, "events")) == ["tick 0", "tick 1", "tick 2"]


async def test_queues_of_a_match_that_waits_are_bounded(gates: dict[str, asyncio.Event]) -> None:
    settings = MatchSettings(signal_queue_max=2, join_attempt_queue_max=2, call_queue_max=3)
    hall = Hall(slow, settings=settings)
    match_id = await hall.matches.create("slow")
    players = await hall.enter(match_id, "ann", "bob")
    gates["tick 0"] = asyncio.Event()
    hall.running.scheduler.step()
    asked = [asyncio.create_task(hall.matches.signal(match_id, "x")) for _ in range(3)]
    asked += [asyncio.create_task(hall.matches.join(Listener(name), match_id, {})) for name in "xyz"]  # type: ignore[misc]
    await asyncio.sleep(0)
    with pytest.raises(MatchBusy, match="match busy"):
        await asked[2]
    with pytest.raises(NotAcceptingJoins, match="Match is not currently accepting join requests"):
        await asked[5]
    actor = hall.running.found(*match_id.split("."))
    hall.matches.leave(players[0], match_id)
    actor.terminate(1)
    actor.terminate(1)
    assert not actor.over
    actor.terminate(1)
    assert actor.over
    assert players[1].closing
    for task in asked[:2] + asked[3:5]:
        with pytest.raises(MatchNotFound):
            await task


async def test_a_drain_tells_matches_to_end_and_lets_none_begin(gates: dict[str, asyncio.Event]) -> None:
    hall = Hall(slow, game)
    slow_id, other = await hall.matches.create("slow"), await begun(hall)
    hall.running.scheduler.start()
    gates["terminate"] = asyncio.Event()
    drain = asyncio.create_task(hall.running.drain(5.0))
    await asyncio.sleep(0)
    assert await hall.matches.get(other) is None, "a match without a terminate of its own ends at once"
    assert await hall.matches.get(slow_id) is not None
    with pytest.raises(ShuttingDown, match="shutdown in progress"):
        await begun(hall)
    gates["terminate"].set()
    await drain
    assert await hall.matches.get(slow_id) is None


async def test_a_drain_without_grace_stops_matches_without_a_word(gates: dict[str, asyncio.Event]) -> None:
    hall = Hall(slow)
    match_id = await hall.matches.create("slow")
    await hall.running.drain(0)
    assert await hall.matches.get(match_id) is None


# -- matches that do what they may not

wrong = Game("wrong")


class Wrong(Match[Table]):
    """Its `init` is for others to write."""

    def tick(self, messages: list[MatchMessage]) -> None:
        pass


@wrong.match("none")
class NoState(Wrong):
    """Forgets to return its state."""

    def init(self) -> Table:
        return None  # type: ignore[return-value]


@wrong.match("raises")
class Raises(Wrong):
    """Cannot begin."""

    async def init(self) -> Table:
        raise ValueError("a bug")


@wrong.match("label")
class LongLabel(Wrong):
    """Looks at what refuses it."""

    def init(self) -> Table:
        with pytest.raises(BadLabel, match="match label too long, must be 0-2048 bytes"):
            self.label = "é" * 1_025
        with pytest.raises(BadLabel, match="JSON"):
            self.label = {"a": object()}
        with pytest.raises(PalestraError, match="64 bits"):
            self.broadcast(2**63)
        for _ in range(128):
            self.broadcast(1, deferred=True)
        with pytest.raises(TooManyDeferred, match="too many deferred message broadcasts per tick"):
            self.broadcast(1, deferred=True)
        return Table()


@wrong.match("hangs")
class Hangs(Wrong):
    """Never gives control back."""

    def init(self) -> Table:
        return Table()

    def tick(self, messages: list[MatchMessage]) -> None:
        while True:
            pass


async def test_a_match_that_fails_to_begin_is_not_there() -> None:
    hall = Hall(wrong)
    for name in ("none", "raises"):
        with pytest.raises(MatchFailed):
            await hall.matches.create(name)
    assert await hall.matches.create("label")
    assert len(await hall.matches.list()) == 1


async def test_a_match_that_hangs_is_cut_off_and_ends_alone() -> None:
    hall = Hall(wrong, game)
    bounds = hall.games.bounds
    bounds.seconds_max = 0.05
    hanging, good = await hall.matches.create("hangs"), await begun(hall)
    (ann,) = await hall.enter(hanging, "ann")
    bounds.start()
    try:
        await hall.tick()
    finally:
        bounds.stop()
    assert ann.closing
    assert await hall.matches.get(hanging) is None
    assert await hall.matches.get(good) is not None
    assert bounds.cut_off == 1
