"""Envelopes for sessions of another node: gathered in a turn of the loop, and in their order."""

from __future__ import annotations

import msgspec

from palestra.cluster.bus import Bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.core.tasks import Tasks
from palestra.features.streams import deliveries as deliveries_module
from palestra.features.streams.contract import Stream
from palestra.features.streams.deliveries import Deliveries, Delivery
from palestra.features.streams.remote import RemoteSession
from palestra.gateway.operation import Caller
from palestra.gateway.push import Push, RawPush
from tests.cluster.test_bus import Inbox

STREAM = Stream(5, "a match")


class World:
    """A node that delivers to another, whose messages are looked at."""

    def __init__(self) -> None:
        broker, tasks = LocalBroker(), Tasks()
        self.a, self.b = (Bus(name, 1, LocalTransport(broker), tasks) for name in "ab")
        self.at_b, self.others = Inbox(self.b, "deliver"), Inbox(self.b, "other")
        self.deliveries = Deliveries(self.a)
        self.order: list[str] = []

    async def start(self) -> World:
        await self.a.start()
        await self.b.start()
        return self

    def session(self, id: str) -> RemoteSession:
        """A session of the other node."""
        link = None
        return RemoteSession("b", id, Caller("u", "name", {}, "", 0, 0), link)  # type: ignore[arg-type]

    async def messages(self, count: int) -> list[list[Delivery]]:
        """What has come, message by message."""
        decode = msgspec.msgpack.Decoder(list[Delivery]).decode
        return [decode(payload) for _, payload in await self.at_b.until(count)]


def raw(text: bytes) -> Push:
    return RawPush(text)


async def test_what_is_sent_in_one_turn_is_one_message_in_its_order() -> None:
    world = await World().start()
    one, two = world.session("one"), world.session("two")
    first, second = raw(b"first"), raw(b"second")
    for session, push in ((one, first), (two, first), (two, second), (one, second), (one, first)):
        world.deliveries.deliver(session, push)
    (message,) = await world.messages(1)
    assert [(one.envelope, one.sessions) for one in message] == [
        (b"first", ["one", "two"]),
        (b"second", ["two", "one"]),
        (b"first", ["one"]),
    ]


async def test_an_envelope_to_a_stream_keeps_its_place_between_those_to_sessions() -> None:
    world = await World().start()
    push = raw(b"to some")
    world.deliveries.deliver(world.session("one"), push)
    world.deliveries.deliver_stream(STREAM, raw(b"to all"), ["b"])
    world.deliveries.deliver(world.session("two"), push)
    (message,) = await world.messages(1)
    assert [(one.envelope, one.sessions, one.stream) for one in message] == [
        (b"to some", ["one"], None),
        (b"to all", [], STREAM),
        (b"to some", ["two"], None),
    ]


async def test_other_messages_keep_their_place_between_envelopes() -> None:
    world = await World().start()
    world.b.on("deliver", lambda sender, payload: world.order.append("envelope"))
    world.b.on("other", lambda sender, payload: world.order.append(payload.decode()))
    last = Inbox(world.b, "last")
    world.deliveries.deliver(world.session("one"), raw(b"1"))
    world.a.send("b", "other", b"between")
    world.deliveries.deliver(world.session("one"), raw(b"2"))
    world.a.broadcast("last", b"")
    await last.until(1)
    assert world.order == ["envelope", "between", "envelope"]


async def test_envelopes_that_are_too_much_for_a_message_go_in_further_ones() -> None:
    world = await World().start()
    half = deliveries_module.GATHERED_BYTES_MAX // 2
    for size in (half, 1, half, 3 * half, 1):
        world.deliveries.deliver(world.session("one"), raw(b"x" * size))
    sizes = [[len(one.envelope) for one in message] for message in await world.messages(4)]
    assert sizes == [[half, 1], [half], [3 * half], [1]]
