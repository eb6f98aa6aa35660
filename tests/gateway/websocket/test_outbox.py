"""What waits, what goes first, and what is remembered."""

from __future__ import annotations

import math

import pytest

from palestra.gateway.push import LatestPush, RawPush
from palestra.gateway.websocket.frames import PING, frame_of, pong_of
from palestra.gateway.websocket.outbox import Bounds, Holding, Outbox, Replay, is_envelope, is_push
from tests.gateway.websocket.talk import Status

FIRM = RawPush(b"{}")
LOOSE = RawPush(b"{}", droppable=True)


def on(topic: str) -> LatestPush:
    return LatestPush("status", Status("x"), topic)


def outbox(frames: int = 100, size: int = 1_000, seconds: float = math.inf, node: int = 10_000) -> Outbox:
    return Outbox(Holding(node), Bounds(frames, size, seconds), (), 0.0)


def test_all_that_fits_is_kept_in_order() -> None:
    box = outbox()
    assert all(box.add(b"%d" % number, LOOSE if number % 2 else FIRM, 0.0) for number in range(10))
    assert box.take() == [b"%d" % number for number in range(10)]
    assert (len(box), box.bytes, box._holding.bytes, box._holding.dropped) == (0, 0, 0, 0)


def test_past_half_of_its_number_what_may_be_missed_goes_oldest_first() -> None:
    box = outbox(frames=8)
    for number in range(3):
        assert box.add(b"loose %d" % number, LOOSE, 0.0)
    for number in range(3):
        assert box.add(b"firm %d" % number, FIRM, 0.0)
    assert box.take() == [b"loose 2", b"firm 0", b"firm 1", b"firm 2"]
    assert box._holding.dropped == 2


def test_past_half_of_its_bytes_too_and_what_waits_further_down_counts() -> None:
    box = outbox(size=100)
    assert box.add(b"x" * 40, LOOSE, 0.0)
    assert box.add(b"y" * 20, FIRM, 0.0)
    assert box.add(b"z" * 20, FIRM, 0.0, unwritten_bytes=60)
    assert not box.add(b"z", FIRM, 0.0, unwritten_bytes=60)
    assert box.take() == [b"y" * 20, b"z" * 20, b"z"]


def test_one_frame_too_many_that_may_not_be_missed_is_too_much() -> None:
    box = outbox(frames=3)
    assert [box.add(b"x", FIRM, 0.0) for _ in range(4)] == [True, True, True, False]


def test_of_one_topic_only_the_latest_is_kept_in_its_own_place() -> None:
    box = outbox(frames=4)
    for number in range(1000):
        assert box.add(b"ann %d" % number, on("ann"), 0.0)
        assert box.add(b"bob %d" % number, on("bob"), 0.0)
    assert box.take() == [b"ann 999", b"bob 999"]
    assert box.add(b"ann", on("ann"), 0.0)
    assert box.take() == [b"ann"]


def test_what_may_be_missed_goes_after_half_the_time_and_the_rest_is_late_after_all_of_it() -> None:
    box = outbox(seconds=10)
    box.add(b"loose", LOOSE, 0.0)
    box.add(b"firm", FIRM, 1.0)
    assert box.age(4.9)
    assert len(box) == 2
    assert box.age(5.0)
    assert len(box) == 1
    assert box.age(10.9)
    assert not box.age(11.0)


def test_when_the_node_holds_much_for_others_what_may_be_missed_goes_and_what_exceeds_it_is_too_much() -> None:
    holding = Holding(100)
    others = Outbox(holding, Bounds(100, 100, math.inf), [b"x" * 60], 0.0)
    box = Outbox(holding, Bounds(100, 100, math.inf), (), 0.0)
    assert box.add(b"loose", LOOSE, 0.0)
    assert len(box) == 0
    assert box.add(b"y" * 40, FIRM, 0.0)
    assert not box.add(b"y", FIRM, 0.0)
    others.take()
    assert holding.bytes == 41


@pytest.mark.parametrize("size", [1, 100, 125, 126, 65_535, 65_536])
def test_replies_and_control_frames_are_told_from_pushes_whatever_their_size(size: int) -> None:
    padding = b" " * size
    for push in (b'{"status":{}}', b'{"rpc":{"cid":1}}'):
        assert is_push(frame_of(push + padding))
    reply = frame_of(b'{"cid":"1"}' + padding)
    assert not is_push(reply)
    assert is_envelope(reply)
    assert not is_push(b"\x82" + frame_of(b"\x0a\x011" + padding)[1:])
    assert is_push(b"\x82" + frame_of(b"\x7a\x00" + padding)[1:])
    for control in (PING, pong_of(b"x" * min(size, 125))):
        assert not is_push(control)
        assert not is_envelope(control)


def test_a_replay_counts_envelopes_and_reaches_back_as_far_as_it_may() -> None:
    replay = Replay(Holding(10_000), 3, 1_000)
    frames = [frame_of(b"%d" % number) for number in range(5)]
    replay.note([PING, *frames[:2], PING, *frames[2:]])
    assert replay.written == 5
    assert replay.since(5) == []
    assert replay.since(2) == frames[2:]
    assert replay.since(1) is None
    assert replay.since(6) is None


def test_a_replay_gives_way_when_the_node_is_strained() -> None:
    holding = Holding(100)
    replay = Replay(holding, 100, 1_000)
    replay.note([frame_of(b"x" * 40)])
    assert replay.since(0) is not None
    replay.note([frame_of(b"x" * 40)])
    assert (holding.bytes, replay.since(1), replay.since(2)) == (0, None, [])
