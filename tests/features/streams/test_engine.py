"""The presence engine, with sessions that note what they are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palestra.features.streams.contract import BadStream, Presence, ReservedMode, SessionClosing, Stream, UnknownSession
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.service import StreamsService
from palestra.gateway.push import RawPush
from tests.features.listener import Connected, Listener

LOBBY = Stream(10, "", "", "lobby")


def shown(*players: Listener) -> list[dict[str, Any]]:
    return [
        {"user_id": p.caller.user_id, "session_id": p.id, "username": p.caller.username, "persistence": True}
        for p in players
    ]


def event(**parts: Any) -> dict[str, Any]:
    return {"stream_presence_event": {"stream": {"mode": 10, "label": "lobby"}, **parts}}


@pytest.fixture
def engine() -> PresenceEngine:
    return PresenceEngine(soon=lambda callback: callback())


def test_a_joiner_reads_its_own_join_but_only_after_its_reply(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    assert engine.join(ann, LOBBY) == (Presence("user-ann", "session-ann", "ann"), True)
    assert ann.heard == []
    ann.reply()
    engine.join(bob, LOBBY)
    bob.reply()
    assert ann.heard == [event(joins=shown(ann)), event(joins=shown(bob))]
    assert bob.heard == [event(joins=shown(bob))]


def test_joining_twice_changes_nothing_and_the_first_meta_wins(engine: PresenceEngine) -> None:
    ann = Listener("ann")
    first, _ = engine.join(ann, LOBBY, status="first")
    assert engine.join(ann, LOBBY, hidden=True, status="second") == (first, False)
    ann.reply()
    assert len(ann.heard) == 1


def test_a_leaver_does_not_hear_of_its_leave_but_those_who_stay_do(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    for player in (ann, bob):
        engine.join(player, LOBBY)
        player.reply()
        player.heard.clear()
    ann.heard.clear()
    assert engine.leave(ann.id, LOBBY) is True
    assert engine.leave(ann.id, LOBBY) is False
    ann.reply()
    assert ann.heard == []
    assert bob.heard == [event(leaves=shown(ann))]


def test_a_join_is_told_before_the_leave_that_follows_even_if_both_wait_for_one_reply(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    engine.join(bob, LOBBY)
    bob.reply()
    bob.heard.clear()
    engine.join(ann, LOBBY)
    engine.leave(ann.id, LOBBY)
    ann.reply()
    assert bob.heard == [event(joins=shown(ann)), event(leaves=shown(ann))]
    assert ann.heard == []


def test_the_hidden_hear_everything_and_are_seen_nowhere(engine: PresenceEngine) -> None:
    ghost, ann = Listener("ghost"), Listener("ann")
    engine.join(ghost, LOBBY, hidden=True)
    ghost.reply()
    engine.join(ann, LOBBY)
    ann.reply()
    engine.send(LOBBY, RawPush(b'{"hello":1}'))
    engine.leave(ghost.id, LOBBY)
    ghost.reply()
    assert ghost.heard == [event(joins=shown(ann)), {"hello": 1}]
    assert ann.heard == [event(joins=shown(ann)), {"hello": 1}]
    assert engine.visible(LOBBY) == [Presence("user-ann", "session-ann", "ann")]


def test_an_update_is_one_event_with_the_new_presence_and_the_former(engine: PresenceEngine) -> None:
    ann = Listener("ann")
    told: list[tuple[list[str], list[str]]] = []
    engine.announce(1, lambda stream, joins, leaves: _note(told, joins, leaves))
    status = Stream(1, "user-ann")
    engine.join(ann, status, status="away")
    assert engine.update(ann.id, status, "back") is True
    assert engine.update("session-nobody", status, "x") is False
    ann.reply()
    assert told == [(["away"], []), (["back"], ["away"])]


def _note(told: list[tuple[list[str], list[str]]], joins: Any, leaves: Any) -> RawPush:
    told.append(([one.status for one in joins], [one.status for one in leaves]))
    return RawPush(b"{}")


def test_modes_nobody_has_given_a_shape_announce_nothing(engine: PresenceEngine) -> None:
    ann = Listener("ann")
    engine.join(ann, Stream(0, "user-ann"))
    ann.reply()
    assert ann.heard == []


def test_a_session_that_ends_leaves_everything_and_joins_nothing_any_more(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    other = Stream(11, "subject")
    for stream in (LOBBY, other):
        engine.join(ann, stream)
        engine.join(bob, stream)
    ann.reply()
    bob.reply()
    bob.heard.clear()
    ann.closing = True
    engine.leave_all(ann.id)
    ann.reply()
    assert [next(iter(one["stream_presence_event"])) for one in bob.heard] == ["stream", "stream"]
    assert [list(one["stream_presence_event"]) for one in bob.heard] == [["stream", "leaves"]] * 2
    with pytest.raises(SessionClosing):
        engine.join(ann, LOBBY)
    engine.leave_all(bob.id)
    assert engine.of_mode(10) == {}
    assert engine.of_mode(11) == {}


def test_leaving_a_mode_spares_the_stream_just_joined(engine: PresenceEngine) -> None:
    ann = Listener("ann")
    streams = [Stream(10, label=name) for name in "abc"]
    for stream in streams:
        engine.join(ann, stream)
    engine.leave_mode(ann.id, 10, but=streams[1])
    assert list(engine.of_mode(10)) == [streams[1]]


def test_a_stream_closed_as_a_whole_is_empty_and_silent(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    for player in (ann, bob):
        engine.join(player, LOBBY)
        player.reply()
    ann.heard.clear()
    bob.heard.clear()
    engine.close(LOBBY)
    engine.close(LOBBY)
    ann.reply()
    bob.reply()
    assert (ann.heard, bob.heard) == ([], [])
    assert engine.visible(LOBBY) == []
    assert engine.join(ann, LOBBY)[1] is True


async def test_game_modules_use_streams_of_their_own_modes_by_session_id(engine: PresenceEngine) -> None:
    ann = Listener("ann")
    streams = StreamsService(engine, Connected(ann))
    assert await streams.join(ann.id, LOBBY) is True
    assert await streams.join(ann.id, LOBBY) is False
    assert await streams.count(LOBBY) == 1
    assert [one.username for one in await streams.users(LOBBY)] == ["ann"]
    await streams.send(LOBBY, "hello")
    stream = {"mode": 10, "label": "lobby"}
    assert ann.heard == [{"stream_data": {"stream": stream, "data": "hello", "reliable": True}}]
    await streams.leave(ann.id, LOBBY)
    await streams.join(ann.id, LOBBY)
    await streams.close(LOBBY)
    assert await streams.count(LOBBY) == 0
    with pytest.raises(UnknownSession):
        await streams.join("session-nobody", LOBBY)
    for mode in (0, 1, 6, 7, 256, -1):
        with pytest.raises(ReservedMode):
            await streams.join(ann.id, Stream(mode))
    for name in ("x" * 256, "\ud800"):
        with pytest.raises(BadStream):
            await streams.join(ann.id, Stream(10, label=name))


class Moments:
    """Time for an engine: `pass_by` lets what was put off happen."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Remember."""
        self.waiting.append((seconds, callback))

    def pass_by(self) -> list[float]:
        """The seconds that were waited for."""
        waiting, self.waiting = self.waiting, []
        for _, callback in waiting:
            callback()
        return [seconds for seconds, _ in waiting]


def crowd(moments: Moments, monkeypatch: pytest.MonkeyPatch) -> tuple[PresenceEngine, list[Listener]]:
    """A stream of three, which counts as a crowd."""
    monkeypatch.setattr("palestra.features.streams.crowds.CROWD_MEMBERS_MIN", 3)
    engine = PresenceEngine(soon=lambda callback: callback(), later=moments.later)
    players = [Listener(name) for name in ("ann", "bob", "cid")]
    for player in players:
        engine.join(player, LOBBY)
        player.reply()
    moments.pass_by()
    for player in players:
        player.heard.clear()
    return engine, players


def test_a_crowd_hears_the_first_at_once_and_the_rest_of_a_moment_together(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = Moments()
    engine, players = crowd(moments, monkeypatch)
    for number in range(3):
        assert engine.send(LOBBY, RawPush(b'{"n":%d}' % number)) == 3
    assert [player.heard for player in players] == [[{"n": 0}]] * 3
    assert moments.pass_by() == [3 / 25_000]
    assert [player.heard for player in players] == [[{"n": 0}, {"n": 1}, {"n": 2}]] * 3
    engine.send(LOBBY, RawPush(b'{"n":3}'))
    assert players[0].heard[-1] == {"n": 2}
    moments.pass_by()
    assert players[0].heard[-1] == {"n": 3}
    # After a moment in which nothing was said, the next is heard at once.
    moments.pass_by()
    engine.send(LOBBY, RawPush(b'{"n":4}'))
    assert players[0].heard[-1] == {"n": 4}
    for number in range(5, 38):
        engine.send(LOBBY, RawPush(b'{"n":%d}' % number))
    assert players[0].heard[-1] == {"n": 36}
    engine.close(LOBBY)
    assert players[0].heard[-1] == {"n": 37}
    assert moments.pass_by() == [3 / 25_000]
    assert moments.pass_by() == []


def test_a_crowd_hears_presences_and_messages_in_their_order_and_nobody_their_own_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = Moments()
    engine, (ann, bob, cid) = crowd(moments, monkeypatch)
    engine.send(LOBBY, RawPush(b'{"n":0}'))
    engine.leave(bob.id, LOBBY)
    bob.reply()
    engine.send(LOBBY, RawPush(b'{"n":1}'))
    assert ann.heard == [{"n": 0}]
    engine.join(bob, LOBBY)
    bob.reply()
    # Whoever comes and goes does not make the node write to everybody each time.
    assert ann.heard == [{"n": 0}]
    moments.pass_by()
    assert ann.heard == cid.heard == [{"n": 0}, event(leaves=shown(bob)), {"n": 1}, event(joins=shown(bob))]
    assert bob.heard == [{"n": 0}, event(joins=shown(bob))]


def test_what_happens_together_is_one_event_unless_it_is_about_one_session_twice() -> None:
    later: list[Callable[[], None]] = []
    engine = PresenceEngine(soon=later.append)
    ann, bob, cid = (Listener(name) for name in ("ann", "bob", "cid"))
    for player in (ann, bob, cid):
        engine.join(player, LOBBY)
        player.reply()
    assert ann.heard == []
    later.pop()()
    assert ann.take() == [event(joins=shown(ann, bob, cid))]
    engine.leave(bob.id, LOBBY)
    bob.reply()
    engine.leave(cid.id, LOBBY)
    cid.reply()
    engine.join(cid, LOBBY)
    cid.take()
    cid.reply()
    assert ann.take() == [event(leaves=shown(bob, cid))]
    engine.send(LOBBY, RawPush(b'{"n":1}'))
    assert ann.take() == cid.take() == [event(joins=shown(cid)), {"n": 1}]
    assert later.pop()() is None
    assert ann.heard == []


def test_an_event_holds_so_many_presences_and_the_rest_are_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palestra.features.streams.engine.EVENT_PRESENCES_MAX", 2)
    later: list[Callable[[], None]] = []
    engine = PresenceEngine(soon=later.append)
    players = [Listener(name) for name in "abcde"]
    for player in players:
        engine.join(player, LOBBY)
        player.reply()
    later.pop()()
    assert [len(one["stream_presence_event"]["joins"]) for one in players[0].heard] == [2, 2, 1]


def test_those_of_a_closed_stream_are_not_announced_to_its_successors(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    engine.join(ann, LOBBY)
    engine.close(LOBBY)
    engine.join(bob, LOBBY)
    ann.reply()
    bob.reply()
    assert bob.heard == [event(joins=shown(bob))]


def test_who_becomes_hidden_leaves_for_the_others_and_comes_back_when_shown(engine: PresenceEngine) -> None:
    ann, bob = Listener("ann"), Listener("bob")
    for player in (ann, bob):
        engine.join(player, LOBBY)
        player.reply()
    bob.heard.clear()
    engine.update(ann.id, LOBBY, hidden=True)
    engine.update(ann.id, LOBBY, "busy", persistence=False)
    engine.update(ann.id, LOBBY, hidden=False)
    ann.reply()
    (back,) = shown(ann)
    del back["persistence"]
    assert bob.heard == [event(leaves=shown(ann)), event(joins=[back])]
