"""Tickets of many nodes against a model: matchmakers alone, on a bus that loses messages, with makers that change."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.cluster.cluster import Cluster, build_cluster
from palestra.core.clock import SystemClock
from palestra.core.config import ClusterSettings, MatchmakerSettings, Settings
from palestra.core.tasks import Tasks
from palestra.features.matchmaker.contract import TicketRequest
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.matchmaker.sharing import TicketSharing
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime
from tests.features.matchmaker.test_service import Line
from tests.waiting import until

KEYS = 6


class Losing(LocalTransport):
    """Loses so many of a hundred packets, and all while it is cut."""

    def __init__(self, broker: LocalBroker, chance: random.Random) -> None:
        super().__init__(broker)
        self._chance = chance
        self.percent = 0
        self.is_cut = False

    async def open(self, node: str, deliver: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        def receive(packet: bytes) -> None:
            if not self.is_cut:
                deliver(packet)

        await super().open(node, receive, changed)

    def publish(self, to: str, packet: bytes) -> bool:
        lost = self.is_cut or self._chance.randrange(100) < self.percent
        return True if lost else super().publish(to, packet)


class Tokens:
    """Counts the matches that are made."""

    def __init__(self) -> None:
        self.made = 0

    def token(self, match_id: str) -> str:
        self.made += 1
        return match_id


class Lease:
    held = False


class Leases:
    """One lease, held at the test's word."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def lease(self, name: str) -> Lease:
        return self._lease


class World:
    """Nodes with nothing but a matchmaker, and every ticket that there ever was."""

    def __init__(self, seed: int, names: str) -> None:
        self.chance = random.Random(seed)
        self.cut = seed % 2 == 1
        """Whether nodes are cut off and given up. Else nobody is, however busy the machine: a maker that is may have
        told only some of a match."""
        self.broker, self.epochs, self.tasks = LocalBroker(), 0, Tasks()
        self.nodes = {name: Place(self, name) for name in names}
        self.lines: dict[str, tuple[str, Line, int]] = {}
        """Tickets by id: node, player and key."""
        self.gone: set[str] = set()

    async def epoch(self) -> int:
        self.epochs += 1
        return self.epochs

    async def start(self) -> None:
        for node in self.nodes.values():
            node.cluster.bus.begin(await self.epoch())
            await node.cluster.bus.start()
            node.cluster.members.start(self.epoch)
            for begin in node.cluster.on_start:
                begin()
            node.service.start()
        self.lead(self.chance.choice(list(self.nodes)))
        await until(lambda: all(node.sharing.maker for node in self.nodes.values()))

    async def stop(self) -> None:
        for node in self.nodes.values():
            await node.cluster.tasks.stop()
        await self.tasks.stop()

    def lead(self, name: str) -> None:
        for node in self.nodes.values():
            node.lease.held = node.name == name
            node.sharing.look()

    def add(self) -> None:
        node, key = self.nodes[self.chance.choice(list(self.nodes))], self.chance.randrange(KEYS)
        line = Line(str(len(self.lines)))
        request = TicketRequest(2, 2, f"+properties.key:{key}", {}, {"key": key})
        ticket = node.service.add_one(line, request)
        self.lines[ticket] = node.name, line, key
        line.answer()

    def remove(self) -> None:
        waiting = [ticket for ticket in self.lines if ticket not in self.gone and not self.lines[ticket][1].sent]
        if waiting:
            ticket = self.chance.choice(waiting)
            name, line, _ = self.lines[ticket]
            self.nodes[name].service.remove_one(line, ticket)
            self.gone.add(ticket)

    def told(self, ticket: str) -> list[Any]:
        return [json.loads(push.envelope())["matchmaker_matched"] for push in self.lines[ticket][1].sent]

    def agreeing(self) -> bool:
        """Whether a match has claimed tickets and is still to be told, or let go."""
        return any(ticket.claim for node in self.nodes.values() for ticket in node.service.own)

    def waiting(self) -> Counter[int]:
        """How many wait by key, whose players are still there."""
        alive = [ticket for node in self.nodes.values() for ticket in node.service.own]
        return Counter(self.lines[ticket.id][2] for ticket in alive)


class Place:
    """A node."""

    def __init__(self, world: World, name: str) -> None:
        self.name, self.world = name, world
        self.transport = Losing(world.broker, world.chance)
        settings = Settings(
            node=name, cluster=ClusterSettings(beat_seconds=0.02, dead_seconds=0.4 if world.cut else 20)
        )
        self.cluster: Cluster = build_cluster(settings, transport=self.transport)
        self.cluster.members.serves = True
        clock, self.lease, matches = SystemClock(), Lease(), Tokens()
        given: Any = matches
        self.service = MatchmakerService(MatchmakerSettings(), given, Runtime(Bounds(1)), world.tasks, clock)
        leases: Any = Leases(self.lease)
        self.sharing = TicketSharing(self.cluster, leases, self.service, world.tasks, clock)
        self.cluster.members.on_fenced(self.fenced)

    def fenced(self) -> None:
        world = self.world
        world.gone |= {ticket for ticket, (name, *_) in world.lines.items() if name == self.name}


async def settled(world: World) -> None:
    """With all in order, whoever can be matched is."""
    for node in world.nodes.values():
        node.transport.percent, node.transport.is_cut = 0, False
    await until(lambda: all(len(list(node.cluster.members)) == len(world.nodes) - 1 for node in world.nodes.values()))
    world.lead("a")
    await until(lambda: not world.agreeing() and all(count == 1 for count in world.waiting().values()))


@pytest.mark.parametrize("seed", range(6))
async def test_each_is_matched_once_and_whoever_can_be_is(seed: int) -> None:
    world = World(seed, "abcd")
    await world.start()
    for step in range(600):
        what = world.chance.randrange(100)
        if what < 60:
            world.add()
        elif what < 75:
            world.remove()
        elif what < 80:
            world.lead(world.chance.choice([*world.nodes, ""]))
        elif what < 84:
            node = world.chance.choice(list(world.nodes.values()))
            node.transport.percent = world.chance.choice([0, 0, 10, 30])
        elif what < 85 and world.cut:
            node = world.chance.choice(list(world.nodes.values()))
            node.transport.is_cut = not node.transport.is_cut
        if step % 4 == 0:
            await asyncio.sleep(0.004)
    await settled(world)
    told = {ticket: world.told(ticket) for ticket in world.lines}
    assert max(map(len, told.values())) == 1
    of_session = {line.id: ticket for ticket, (_, line, _) in world.lines.items()}
    matches = 0
    for ticket, (match,) in [(ticket, matches) for ticket, matches in told.items() if matches]:
        tickets = {of_session[user["presence"]["session_id"]] for user in match["users"]}
        assert len(tickets) == 2
        assert ticket in tickets
        assert len({world.lines[one][2] for one in tickets}) == 1
        matches += 1
        if not world.cut:
            # A mate that was not told had withdrawn when all had agreed.
            for mate in tickets - world.gone:
                assert [one["token"] for one in told[mate]] == [match["token"]]
    assert matches > 100
    waiting = {ticket.id for node in world.nodes.values() for ticket in node.service.own}
    assert waiting == {ticket for ticket, bodies in told.items() if not bodies} - world.gone
    await world.stop()
