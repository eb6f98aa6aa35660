"""The presence engine, with sessions that note what they are sent."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.features.streams.contract import Presence, ReservedMode, SessionClosing, Stream, UnknownSession
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.service import StreamsService
from palestra.gateway.push import RawPush
from tests.features.listener import Listener

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
    return PresenceEngine()


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
    streams = StreamsService(engine, {ann.id: ann})
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
    for mode in (0, 5, 7, 256, -1):
        with pytest.raises(ReservedMode):
            await streams.join(ann.id, Stream(mode))
