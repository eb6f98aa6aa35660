"""A recorded match, run again, goes through the same states; one that does not is caught at its first difference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra import Game, GameError, Match, MatchMessage, MatchPlayer
from palestra.core.config import MatchSettings
from palestra.core.errors import SetupError
from palestra.features.matches.record import SUFFIX, State, read_entry, write
from palestra.features.matches.replay import Replayed, heading_of, replay
from palestra.sdk.match import replay_handler
from tests.features.listener import Listener
from tests.features.matches.games import Hall

game = Game("test")
LUCK = {"factor": 1}
"""What a game must not have: something outside of its state that changes what it does."""


class World(msgspec.Struct):
    """Where everybody is, and who was lucky."""

    places: dict[str, float] = {}
    tags: set[str] = set()
    log: list[str] = []
    at: float = 0.0


class Params(msgspec.Struct):
    """How far a step goes."""

    step: float = 1.0


@game.match("world", ticks_per_second=20, record=True)
class WorldMatch(Match[World]):
    """Draws, moves, labels: all that must come out the same."""

    def init(self, params: Params) -> World:
        self.step = params.step
        return World()

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
        if self.random.random() < 0.2:
            raise GameError("unlucky")

    def join(self, players: list[MatchPlayer]) -> None:
        for player in players:
            self.state.places[player.username] = self.random.uniform(0, 100)
            self.state.tags.add(player.username + player.vars.get("team", ""))

    def leave(self, players: list[MatchPlayer]) -> None:
        for player in players:
            self.state.places.pop(player.username, None)
            self.state.log.append(f"{player.username} {player.left}")

    async def tick(self, messages: list[MatchMessage]) -> None:
        self.state.at = self.now
        for message in messages:
            here = self.state.places.get(message.sender.username, 0.0)
            self.state.places[message.sender.username] = here + self.step * LUCK["factor"] * self.random.random()
            self.state.log = [*self.state.log[-9:], f"{message.op_code} {message.data!r} {message.received_at}"]
            if message.op_code == 13:
                raise ValueError(f"bad luck {self.random.random()}")
            if message.op_code == 14:
                self.kick(message.sender)
            await asyncio.sleep(0)
        if self.tick_number % 7 == 0:
            self.label = {"players": self.player_count, "at": self.tick_number}

    def signal(self, data: str) -> str:
        if not data:
            raise GameError("say something")
        self.state.log.append(data)
        return data


def hall_in(folder: Path, **more: Any) -> Hall:
    return Hall(game, settings=MatchSettings(record_dir=str(folder), record_hash_ticks=3, **more))


async def recorded(hall: Hall, folder: Path) -> list[bytes]:
    """The lines of the one record, whole."""
    await hall.running.drain(0)
    (file,) = records(folder)
    return file.read_bytes().splitlines(keepends=True)


def records(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{SUFFIX}"))


async def replayed(lines: list[bytes]) -> Replayed:
    heading = heading_of(lines[0])
    return await replay(heading, lines[1:], replay_handler([game], heading.name))


_acts = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from("abcd")),
        st.tuples(st.just("leave"), st.sampled_from("abcd")),
        st.tuples(st.just("drop"), st.sampled_from("abcd")),
        st.tuples(
            st.just("say"), st.sampled_from("abcd"), st.sampled_from((1, 2, 14, -(2**63) + 1)), st.binary(max_size=9)
        ),
        st.tuples(st.just("signal"), st.text(max_size=5)),
        st.tuples(st.just("tick"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.floats(0, 10)),
    ),
    max_size=40,
)


async def act(hall: Hall, match_id: str, players: dict[str, Listener], what: str, *more: Any) -> None:
    """Do one thing to a match."""
    name = more[0]
    match what:
        case "join":
            player = players[name] = Listener(name, session_id=f"{name}{len(players)}{hall.clock.now()}")
            try:
                await hall.matches.join(player, match_id, {"x": "y"})
            except GameError:
                return
            player.reply()
        case "leave" if name in players:
            hall.matches.leave(players[name], match_id)
        case "drop" if name in players:
            hall.drop(players[name])
        case "say" if name in players:
            hall.say(players[name], match_id, more[1], more[2])
        case "signal":
            try:
                await hall.matches.signal(match_id, name)
            except GameError:
                return
        case "tick":
            await hall.tick(name)
        case "wait":
            hall.clock.advance(name)
        case _:
            pass


@settings(max_examples=40, deadline=None)
@given(_acts)
def test_whatever_happens_a_replay_goes_through_the_same_states(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[Any, ...]]
) -> None:
    async def play() -> None:
        folder = tmp_path_factory.mktemp("records")
        hall = hall_in(folder)
        match_id = await hall.matches.create("world", {"step": 2.5})
        players: dict[str, Listener] = {}
        for what, *more in acts:
            await act(hall, match_id, players, what, *more)
        lines = await recorded(hall, folder)
        outcome = await replayed(lines)
        assert (outcome.difference, outcome.ended, outcome.error) == ("", "over", None)
        states = sum(isinstance(read_entry(line), State) for line in lines[1:])
        assert outcome.compared == states >= 1

    asyncio.run(play())


async def _played(hall: Hall) -> str:
    match_id = await hall.matches.create("world")
    players: dict[str, Listener] = {}
    for name in "abcdefgh":
        await act(hall, match_id, players, "join", name)
    for _ in range(10):
        for name in players:
            await act(hall, match_id, players, "say", name, 1, b"x")
        await hall.tick()
    return match_id


async def test_a_handler_that_is_not_deterministic_is_caught_at_the_first_state_that_differs(tmp_path: Path) -> None:
    hall = hall_in(tmp_path)
    await _played(hall)
    lines = await recorded(hall, tmp_path)
    LUCK["factor"] = 2
    try:
        outcome = await replayed(lines)
    finally:
        LUCK["factor"] = 1
    assert (outcome.difference, outcome.ticks) == ("the state is not that of the record", 3)


async def test_a_failure_fails_again_and_one_that_is_mended_is_a_difference(tmp_path: Path) -> None:
    hall = hall_in(tmp_path)
    match_id = await _played(hall)
    player = next(iter(hall.running.found(*match_id.split(".")).desk.players.values()))
    hall.running.found(*match_id.split(".")).receive(player.session_id, 13, b"", True, 0.0)
    await hall.tick()
    lines = await recorded(hall, tmp_path)
    outcome = await replayed(lines)
    assert outcome.difference == ""
    assert str(outcome.error).startswith("bad luck 0.")
    whole = [line for line in lines if b'"failed"' not in line]
    assert "raised ValueError" in (await replayed([*whole[:-1], write(State(11, "")), whole[-1]])).difference


async def test_a_record_that_breaks_off_is_replayed_to_there(tmp_path: Path) -> None:
    hall = hall_in(tmp_path)
    await _played(hall)
    lines = await recorded(hall, tmp_path)
    outcome = await replayed([*lines[:-3], lines[-3][:4]])
    assert (outcome.difference, outcome.ended) == ("", "")
    for first in (b"", b"{}", lines[0].replace(b'"format":1', b'"format":9')):
        with pytest.raises(SetupError):
            heading_of(first)


async def test_a_record_is_bounded_and_so_is_their_number(tmp_path: Path) -> None:
    hall = hall_in(tmp_path, record_bytes_max=2_000, record_files_max=2)
    for _ in range(4):
        await hall.matches.create("world")
        await hall.tick(500)
    await hall.running.drain(0)
    files = records(tmp_path)
    assert len(files) == 2
    for whole in [file.read_bytes() for file in files]:
        lines = whole.splitlines()
        assert len(whole) < 3_000
        assert lines[-1] == b'["end","match.record_bytes_max is reached"]'
        assert (await replayed(lines)).difference == ""


async def test_a_state_that_cannot_be_written_is_said_once_and_a_full_disk_stops_only_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = Game("odd")

    @odd.match("odd")
    class Odd(Match[Any]):
        def init(self) -> Any:
            return object()

        def tick(self, messages: list[MatchMessage]) -> None:
            pass

    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    hall = Hall(odd, settings=MatchSettings(record_dir=str(blocked), record_hash_ticks=1))
    match_id = await hall.matches.create("odd")
    await hall.tick(60)
    await hall.tick(60)
    assert await hall.matches.get(match_id) is not None
    await hall.running.drain(0)
    log = capsys.readouterr().out
    assert (log.count("cannot be written"), log.count("no longer recorded")) == (1, 1)
