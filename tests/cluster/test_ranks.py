"""Leaderboards and tournaments of two nodes on one database and one Valkey, which is killed, emptied and cut off."""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from palestra import Game
from palestra.cluster import scripts as scripts_module
from palestra.cluster.bus import Bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.cluster.cache import Caches
from palestra.cluster.script_servers import Call
from palestra.cluster.scripts import Scripts
from palestra.core.clock import ManualClock
from palestra.core.config import CacheSettings, DatabaseSettings, Settings
from palestra.core.events import EventBus
from palestra.core.ids import new_id
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.leaderboards import rank_builder, rank_sharing, ranked, shared_ranks
from palestra.features.leaderboards.announcer import Announcer
from palestra.features.leaderboards.contract import JoinRefused, LeaderboardNotFound, LeaderboardReset
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.neighbours import Neighbours
from palestra.features.leaderboards.rank_builder import RankBuilder
from palestra.features.leaderboards.rank_sharing import SCRIPT, SharedRanking
from palestra.features.leaderboards.ranked import Ranked
from palestra.features.leaderboards.service import LeaderboardService
from palestra.features.leaderboards.shared_ranks import SharedRanks
from palestra.features.leaderboards.store import LeaderboardStore
from palestra.features.leaderboards.tournament_store import TournamentStore
from palestra.features.leaderboards.tournaments import TournamentService
from palestra.testing import Bot
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, running, valkey_cluster, valkey_command
from tests.cluster.several import QUICK, several

SECONDS_MAX = 20.0
DAY = 86_400


async def becomes(check: Callable[[], Awaitable[Any]]) -> None:
    """Ask again until the answer is true."""
    async with asyncio.timeout(SECONDS_MAX):
        while not await check():  # noqa: ASYNC110 - of things that tell nobody
            await asyncio.sleep(0.01)


class Node:
    """One node's leaderboards, with a way to Valkey of its own."""

    def __init__(self, name: str, world: World, url: str) -> None:
        self.name = name
        self.tasks, self.events, limits = Tasks(), EventBus(), DatabaseSettings()
        self.bus = Bus(name, 1, LocalTransport(world.broker), self.tasks)
        database, clock = world.database, world.clock
        self.ranked = Ranked(database, limits)
        self.scripts = Scripts(url, SCRIPT, self.tasks)
        self.builder = RankBuilder(self.scripts, database, self.tasks)
        self.sharing = SharedRanking(self.scripts, self.builder, self.tasks, name, "test")
        self.neighbours = Neighbours(self.bus, lambda: world.names - {name}, self.tasks, clock)
        caches = Caches(self.tasks, CacheSettings())
        self.store = LeaderboardStore(database, limits, caches, self.ranked)
        self.tournament_store = TournamentStore(database, limits, caches, self.ranked)
        self.known = KnownBoards(self.store, self.tasks, clock, self.sharing.ranks_of, self.neighbours.changed)
        self.neighbours.follow(self.known)
        self.boards = LeaderboardService(self.store, self.known, clock)
        self.tournaments = TournamentService(self.tournament_store, self.store, self.known, self.boards, clock)
        self.announcer = Announcer(
            self.known, self.store, self.tournament_store, self.events, self.tasks, clock, self.neighbours
        )
        self.clock = clock

    async def start(self) -> None:
        await self.bus.start()
        await self.sharing.start()
        await self.known.start()

    async def stop(self) -> None:
        await self.store.stop()
        await self.tournament_store.stop()
        await self.ranked.stop()
        await self.sharing.stop()
        await self.bus.stop()
        await self.tasks.stop()

    def ranks(self, board: str) -> SharedRanks:
        """The shared ranks of a board's running period."""
        known = self.known.known(board)
        assert known is not None
        shared = known.current(self.clock.now()).shared
        assert shared is not None
        return shared

    async def standings(self, board: str, owners: list[str]) -> dict[str, int]:
        """The ranks of owners as players are told."""
        return {record.owner_id: record.rank for record in (await self.boards.records(board, owners)).owner_records}


@dataclass
class World:
    """Two nodes; each reaches Valkey through a proxy."""

    database: Database
    port: int
    clock: ManualClock = field(default_factory=ManualClock)
    broker: LocalBroker = field(default_factory=LocalBroker)
    nodes: list[Node] = field(default_factory=list)
    proxies: list[FaultProxy] = field(default_factory=list)
    server: Process | None = None

    @property
    def names(self) -> set[str]:
        return {node.name for node in self.nodes}

    async def kill(self) -> None:
        """Valkey is gone."""
        assert self.server is not None
        self.server.kill()
        await self.server.wait()

    async def ask(self, *command: Any) -> Any:
        """Say something to Valkey, past all nodes."""
        async with redis.asyncio.Redis(port=self.port) as client:
            return await client.execute_command(*command)

    async def agree(self, board: str, *, descending: bool = True) -> None:
        """Wait until both nodes tell the ranks that SQL has, all of them."""
        order = "DESC" if descending else "ASC"
        rows = await self.database.fetch(
            f"SELECT owner_id::text FROM leaderboard_records WHERE leaderboard_id = $1"
            f" ORDER BY score {order}, subscore {order}, owner_id {order}",
            board,
        )
        owners = [row[0] for row in rows]
        wanted = {owner: rank for rank, owner in enumerate(owners, 1)}

        async def same() -> bool:
            for node in self.nodes:
                standing = await node.ranks(board).look([ranked.owner_bytes(owner) for owner in owners])
                if standing is None or standing.rank_count != len(owners):
                    return False
                if dict(zip(owners, standing.ranks, strict=True)) != wanted:
                    return False
            return True

        await becomes(same)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What takes a second takes less."""
    monkeypatch.setattr(scripts_module, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(scripts_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(rank_sharing, "RETRY_SECONDS", 0.05)
    # Several pieces of all there is.
    monkeypatch.setattr(rank_builder, "BUILD_ROWS", 7)
    monkeypatch.setattr(rank_sharing, "OWNERS_PER_ROUND", 9)
    monkeypatch.setattr(shared_ranks, "OWNERS_MAX", 11)
    return iter([None])


@contextlib.asynccontextmanager
async def world_of(database: Database, port: int) -> AsyncIterator[World]:
    world = World(database, port)
    async with contextlib.AsyncExitStack() as stack:
        for name in ("a", "b"):
            proxy = await stack.enter_async_context(FaultProxy(port))
            node = Node(name, world, f"redis://127.0.0.1:{proxy.port}")
            world.proxies.append(proxy)
            world.nodes.append(node)
            stack.push_async_callback(node.stop)
            await node.start()
        yield world


@pytest_asyncio.fixture
async def world(database: Database, quick: None) -> AsyncIterator[World]:
    port = free_port()
    async with running(valkey_command(port), port) as server, world_of(database, port) as made:
        made.server = server
        yield made


async def play(world: World, board: str, chance: random.Random, owners: list[str], count: int) -> None:
    """Random writes and deletions through both nodes at once, of few owners, so that they meet."""

    async def one() -> None:
        node, owner = chance.choice(world.nodes), chance.choice(owners)
        if chance.random() < 0.15:
            await node.boards.remove(board, owner)
        else:
            score, subscore = chance.choice((0, 1, 7, 2**53 + 1, 2**63 - 1, chance.randrange(50))), chance.randrange(3)
            await node.boards.submit(board, owner, "name", score, subscore, operator="set")

    for _ in range(count // 20):
        await asyncio.gather(*(one() for _ in range(20)))


async def test_a_score_written_on_one_node_counts_on_the_other_with_its_own_at_once(world: World) -> None:
    a, b = world.nodes
    ann, bob = new_id(), new_id()
    await a.boards.create("b")
    assert (await a.boards.submit("b", ann, "ann", 5)).rank == 1
    assert (await b.boards.submit("b", bob, "bob", 7)).rank == 1
    assert await a.standings("b", [ann, bob]) == {bob: 1, ann: 2}
    page = await b.boards.records("b", limit=5)
    assert [(record.owner_id, record.rank) for record in page.records] == [(bob, 1), (ann, 2)]
    window = await a.boards.around("b", ann, 5)
    assert [(record.owner_id, record.rank) for record in window.records] == [(bob, 1), (ann, 2)]
    await world.agree("b")
    assert [page.rank_count for page in (await a.boards.records("b", limit=1), await b.boards.around("b", ann))] == [
        2,
        2,
    ]
    await b.boards.remove("b", bob)
    assert (await b.boards.records("b", [ann, bob], 5)).rank_count == 1
    assert (await a.standings("b", [ann, bob])) == {ann: 1}


@pytest.mark.parametrize("descending", [True, False])
async def test_random_writes_through_both_nodes_leave_the_order_of_the_database(world: World, descending: bool) -> None:
    chance = random.Random(descending)
    owners = [new_id() for _ in range(60)]
    await world.nodes[0].boards.create("b", sort="desc" if descending else "asc")
    for _ in range(5):
        await play(world, "b", chance, owners, 200)
        await world.agree("b", descending=descending)


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_faults_between_random_writes_leave_the_order_of_the_database(world: World, seed: int) -> None:
    chance = random.Random(seed)
    owners = [new_id() for _ in range(30)]
    await world.nodes[0].boards.create("b")
    for _ in range(12):
        fault, proxy = chance.choice(("cut", "freeze", "flush", "key", "script")), chance.choice(world.proxies)
        if fault == "cut":
            proxy.cut(refuse=True)
        elif fault == "freeze":
            proxy.freeze()
        elif fault == "flush":
            await world.ask("FLUSHALL")
        elif fault == "key":
            await world.ask("DEL", chance.choice(world.nodes[0].ranks("b").keys))
        else:
            await world.ask("SCRIPT", "FLUSH")
        await play(world, "b", chance, owners, 60)
        if fault == "freeze":
            proxy.cut()
        proxy.heal()
        if chance.random() < 0.4:
            await world.agree("b")
    await world.agree("b")


async def test_with_valkey_gone_scores_and_lists_go_on_and_its_empty_successor_is_filled(world: World) -> None:
    a, b = world.nodes
    chance, owners = random.Random(1), [new_id() for _ in range(40)]
    await a.boards.create("b")
    await play(world, "b", chance, owners, 100)
    await world.agree("b")
    await world.kill()
    await play(world, "b", chance, owners, 100)
    ann = new_id()
    assert (await a.boards.submit("b", ann, "ann", 2**63 - 1, 99)).rank == 1
    assert (await b.boards.submit("b", ann, "ann", 2**63 - 1, 98, operator="set")).rank == 1
    everybody = await b.standings("b", [ann, *owners])
    assert sorted(everybody.values()) == list(range(1, len(everybody) + 1))
    assert (await b.boards.records("b", limit=3)).rank_count == 0
    async with running(valkey_command(world.port), world.port):
        await world.agree("b")
        await play(world, "b", chance, owners, 100)
        await world.agree("b")


async def test_ranks_far_down_are_unknown_without_valkey(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked, "DEPTH_MAX", 3)
    monkeypatch.setattr(ranked, "OWNERS_MAX", 6)
    owners = [new_id() for _ in range(8)]
    for board, sort in (("up", "asc"), ("down", "desc")):
        await world.nodes[0].boards.create(board, sort=sort)
        await asyncio.gather(*(world.nodes[0].boards.submit(board, owner, "", n) for n, owner in enumerate(owners)))
    await world.kill()
    up, down = [await world.nodes[1].standings(board, owners) for board in ("up", "down")]
    assert [up[owner] for owner in owners] == [1, 2, 3, 0, 0, 0, 0, 0]
    assert [down[owner] for owner in owners] == [0, 0, 0, 0, 0, 3, 0, 0]


async def test_a_node_without_any_valkey_has_the_ranks_of_the_database(world: World) -> None:
    owners = [new_id() for _ in range(5)]
    await world.nodes[0].boards.create("b")
    node = Node("c", world, "")
    try:
        await node.start()
        for n, owner in enumerate(owners):
            assert (await node.boards.submit("b", owner, "", n)).rank == 1
        assert list((await node.standings("b", owners)).values()) == [1, 2, 3, 4, 5]
        assert (await node.boards.around("b", owners[2], 3)).records[0].rank == 2
    finally:
        await node.stop()


async def test_what_valkey_throws_away_is_noticed_and_built_again(world: World) -> None:
    chance, owners = random.Random(2), [new_id() for _ in range(40)]
    a, _ = world.nodes
    await a.boards.create("b")
    await play(world, "b", chance, owners, 100)
    await world.agree("b")
    state = a.ranks("b").keys[0]
    current = int(await world.ask("HGET", state, "current"))
    for key in (*a.ranks("b").keys[1 + 3 * current : 3 + 3 * current], state):
        assert await world.ask("DEL", key) == 1
        await world.agree("b")
    await world.ask("FLUSHALL")
    await play(world, "b", chance, owners, 100)
    await world.agree("b")
    await world.ask("SCRIPT", "FLUSH")
    await play(world, "b", chance, owners, 20)
    await world.agree("b")


async def test_a_server_that_lost_the_latest_writes_is_known_by_its_new_life(
    database: Database, quick: None, tmp_path: Path
) -> None:
    port, chance, owners = free_port(), random.Random(3), [new_id() for _ in range(40)]
    command = [*valkey_command(port), "--dir", str(tmp_path)]
    async with running(command, port) as server, world_of(database, port) as world:
        world.server = server
        await world.nodes[0].boards.create("b")
        await play(world, "b", chance, owners, 100)
        await world.agree("b")
        await world.ask("SAVE")
        await play(world, "b", chance, owners, 100)
        await world.agree("b")
        await world.kill()
        async with running(command, port):
            # Whoever asks first may be told what was saved, until the other life is noticed.
            await world.agree("b")


async def test_a_node_that_is_cut_off_tells_later_and_nothing_is_lost(world: World) -> None:
    a, b = world.nodes
    chance, owners = random.Random(4), [new_id() for _ in range(40)]
    await a.boards.create("b")
    await play(world, "b", chance, owners, 100)
    for fault in ("cut", "freeze"):
        world.proxies[0].cut(refuse=True) if fault == "cut" else world.proxies[0].freeze()
        await play(world, "b", chance, owners, 200)
        ann = new_id()
        assert (await a.boards.submit("b", ann, "ann", 2**63 - 1, 99)).rank == 1
        assert a.ranks("b").late
        world.proxies[0].cut()
        world.proxies[0].heal()
        await world.agree("b")
        assert a.builder.built + b.builder.built == 1
        await b.boards.remove("b", ann)


async def test_too_much_late_news_has_the_ranks_built_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = world.nodes
    chance, owners = random.Random(5), [new_id() for _ in range(40)]
    await a.boards.create("b")
    await play(world, "b", chance, owners, 100)
    await world.agree("b")
    monkeypatch.setattr(rank_sharing, "LATE_MAX", 5)
    world.proxies[0].cut(refuse=True)
    await asyncio.gather(*(a.boards.submit("b", id, "", n, operator="set") for n, id in enumerate(owners)))
    assert len(a.ranks("b").late) <= 5
    world.proxies[0].heal()
    await world.agree("b")
    assert sum(node.builder.built for node in world.nodes) == 2


async def test_what_was_told_late_is_not_believed_when_others_know_better(world: World) -> None:
    a, b = world.nodes
    ann, bob = new_id(), new_id()
    await a.boards.create("b")
    await a.boards.submit("b", bob, "bob", 3)
    await world.agree("b")
    world.proxies[0].cut(refuse=True)
    await a.boards.submit("b", ann, "ann", 5)
    await b.boards.remove("b", ann)
    # Nobody but the database remembers by now that she has left.
    await world.ask("FLUSHALL")
    await becomes(lambda: known_again(b))
    world.proxies[0].heal()
    await becomes_told(a)
    await world.agree("b")


async def known_again(node: Node) -> bool:
    """Whether a node can tell ranks."""
    return await node.ranks("b").look([]) is not None


async def test_what_a_node_did_not_tell_before_it_died_is_found(world: World) -> None:
    a, b = world.nodes
    ann, bob = new_id(), new_id()
    await a.boards.create("b")
    await a.boards.submit("b", ann, "ann", 5)
    await b.boards.submit("b", bob, "bob", 4)
    await world.agree("b")
    world.proxies[0].cut(refuse=True)
    await a.boards.submit("b", ann, "ann", 2, operator="set")
    await a.boards.submit("b", bob, "bob", 1, operator="set")
    a.ranks("b").late.clear()
    assert await b.standings("b", [ann, bob]) == {ann: 1, bob: 2}
    b.sharing.distrust("a", b.known.shared_ranks())
    world.proxies[0].heal()
    await world.agree("b")


async def test_ranks_just_built_are_built_anew_when_a_node_dies_that_told_nothing_yet(world: World) -> None:
    a, b = world.nodes
    await a.boards.create("b")
    await a.boards.submit("b", new_id(), "ann", 5)
    await world.agree("b")
    built = a.builder.built + b.builder.built
    b.sharing.distrust("c", b.known.shared_ranks())

    async def anew() -> bool:
        return await known_again(b) and a.builder.built + b.builder.built > built

    await becomes(anew)


async def test_a_builder_that_falls_silent_or_is_doubted_is_replaced(world: World) -> None:
    a, b = world.nodes
    await a.boards.create("b")
    owners = [new_id() for _ in range(5)]
    await world.ask("FLUSHALL")
    ranks = a.ranks("b")
    await a.scripts.look()
    life = a.scripts.life_of(ranks.keys[0])

    async def call(*arguments: str | bytes) -> Any:
        return (await a.scripts.run([Call(ranks.keys, arguments)]))[0]

    assert await call("begin", "hung", life) == 1
    assert await call("begin", "another", life) == 0
    await asyncio.gather(*(b.boards.submit("b", owner, "", n) for n, owner in enumerate(owners)))
    assert await ranks.look([]) is None
    assert await call("fill", "hung", b"") == 1
    ranks.doubt()
    await world.agree("b")
    assert await call("fill", "hung", b"") == 0
    assert await call("finish", "hung", life) == 0
    assert await call("begin", "dead", life) == 1
    await world.ask("HSET", ranks.keys[0], "until", 0)
    assert await call("begin", "next", life) == 1
    assert await call("finish", "dead", life) == 0
    assert await call("finish", "next", "another life") == 0


async def test_a_server_that_is_full_refuses_and_is_right_again_afterwards(world: World) -> None:
    a, _ = world.nodes
    chance, owners = random.Random(6), [new_id() for _ in range(40)]
    await a.boards.create("b")
    await play(world, "b", chance, owners, 60)
    await world.agree("b")
    await world.ask("CONFIG", "SET", "maxmemory", "1")
    await play(world, "b", chance, owners, 60)
    standings = await a.standings("b", owners)
    assert sorted(standings.values()) == list(range(1, len(standings) + 1))
    await world.ask("CONFIG", "SET", "maxmemory", "0")
    await world.agree("b")


async def test_news_that_arrives_in_the_other_order_leaves_the_later(world: World) -> None:
    a, b = world.nodes
    ann, bob = new_id(), new_id()
    await a.boards.create("b")
    await a.boards.submit("b", bob, "bob", 3)
    await a.boards.submit("b", ann, "ann", 1)
    await world.agree("b")
    for late in ("score", "deletion"):
        world.proxies[0].cut(refuse=True)
        await a.boards.submit("b", ann, "ann", 5, operator="set")
        if late == "deletion":
            await a.boards.remove("b", ann)
            await b.boards.submit("b", ann, "ann", 4, operator="set")
        else:
            await b.boards.remove("b", ann)
        world.proxies[0].heal()
        await becomes_told(a)
        await world.agree("b")
    assert sum(node.builder.built for node in world.nodes) == 1


async def becomes_told(node: Node) -> None:
    """Wait until a node has told all it knows."""

    async def told() -> bool:
        return node.scripts.up and not any(ranks.news or ranks.late for ranks in node.known.shared_ranks())

    await becomes(told)


async def test_boards_made_and_deleted_on_one_node_are_so_on_the_other(world: World) -> None:
    a, b = world.nodes
    ann, bob = new_id(), new_id()
    await a.boards.create("b", sort="asc")
    assert (await b.boards.submit("b", ann, "ann", 5)).rank == 1
    await a.boards.delete("b")

    async def gone() -> bool:
        return b.known.known("b") is None

    await becomes(gone)
    with pytest.raises(LeaderboardNotFound):
        await b.boards.submit("b", ann, "ann", 5)
    # What is still written by who has not heard yet is not in the next board of that id.
    await world.database.execute(
        "INSERT INTO leaderboard_records (leaderboard_id, owner_id, score, subscore) VALUES ('b', $1, 1, 1)", bob
    )
    await b.boards.create("b", sort="desc")
    await a.boards.submit("b", ann, "ann", 5)
    await b.boards.submit("b", bob, "bob", 6)
    assert await a.standings("b", [ann, bob]) == {bob: 1, ann: 2}
    await world.agree("b")


async def test_boards_are_read_again_when_the_bus_lost_something(world: World) -> None:
    a, b = world.nodes
    for id in ("kept", "deleted", "replaced"):
        await a.boards.create(id)
        await b.boards.get([id])
    await world.database.execute("DELETE FROM leaderboards WHERE id <> 'kept'")
    await world.database.execute(
        "INSERT INTO leaderboards (id, authoritative, sort, operator, enable_ranks)"
        " VALUES ('replaced', true, 0, 1, true), ('made', true, 0, 1, true)"
    )
    b.neighbours.missed()

    async def same() -> bool:
        return {board.definition.id: board.definition.authoritative for board in b.known} == {
            "kept": False,
            "replaced": True,
            "made": True,
        }

    await becomes(same)


async def test_a_player_who_leaves_has_no_rank_on_any_node(world: World) -> None:
    a, b = world.nodes
    ann, bob = new_id(), new_id()
    for board in ("one", "two"):
        await a.boards.create(board)
        await a.boards.submit(board, ann, "ann", 9)
        await b.boards.submit(board, bob, "bob", 5)
    async with world.database.transaction() as tx:
        await b.boards.forget(tx, ann)
    b.boards.forgotten(ann)
    for board in ("one", "two"):
        await world.agree(board)
        assert await a.standings(board, [ann, bob]) == {bob: 1}
    assert sum(node.builder.built for node in world.nodes) == 2


async def test_tournaments_share_ranks_seats_and_withdrawals(world: World) -> None:
    a, b = world.nodes
    ann, bob, eve = (new_id() for _ in range(3))
    await a.tournaments.create("cup", duration_seconds=DAY, max_size=2, join_required=True)
    await a.tournaments.join("cup", ann, "ann")
    await b.tournaments.join("cup", bob, "bob")
    with pytest.raises(JoinRefused):
        await a.tournaments.join("cup", eve, "eve")
    assert (await b.tournaments.submit("cup", bob, "bob", 5)).rank == 1
    assert (await a.tournaments.submit("cup", ann, "ann", 7)).rank == 1
    assert (await b.tournaments.records("cup", [ann, bob])).rank_count == 2
    await b.tournaments.remove("cup", ann)
    assert await a.standings("cup", [ann, bob]) == {bob: 1}
    await world.agree("cup")


async def test_each_end_is_told_by_one_node_after_the_last_write_of_the_other(world: World) -> None:
    a, b = world.nodes
    told: list[tuple[str, str, int]] = []
    both = asyncio.Event()

    def listen(node: Node) -> None:
        async def note(event: LeaderboardReset) -> None:
            if event.leaderboard.id == "slow":
                told.append((node.name, event.leaderboard.id, event.reset_time))
                await both.wait()
            told.append((node.name, event.leaderboard.id, event.reset_time))

        node.events.subscribe(LeaderboardReset, note)

    listen(a)
    listen(b)
    for id in ("daily", "hourly", "slow"):
        await a.boards.create(id, reset="@hourly" if id == "hourly" else "@daily")
        await b.boards.get([id])
    world.clock.advance(DAY)
    telling = [asyncio.ensure_future(node.announcer.announce()) for node in (a, b)]
    await asyncio.wait(telling, return_when=asyncio.FIRST_COMPLETED)
    assert len([one for one in told if one[1] == "slow"]) == 1
    both.set()
    await asyncio.gather(*telling)
    for node in (b, a):
        await node.announcer.announce()
    ends = [(id, at) for _, id, at in told if id != "slow"]
    assert sorted(ends) == sorted(set(ends))
    assert len(ends) == 24 + 1


async def test_an_end_is_told_when_the_writes_of_all_nodes_are_done(world: World) -> None:
    a, b = world.nodes
    told = asyncio.Event()

    async def note(event: LeaderboardReset) -> None:
        told.set()

    a.events.subscribe(LeaderboardReset, note)
    await a.boards.create("daily", reset="@daily")
    period = (await b.known.board("daily")).current(world.clock.now())
    with period.written():
        world.clock.advance(DAY)
        telling = asyncio.ensure_future(a.announcer.announce())
        await becomes(lambda: asked(period))
        assert not told.is_set()
    await telling
    assert told.is_set()


async def asked(period: Any) -> bool:
    return period._settled is not None


async def test_a_node_that_died_while_telling_is_followed(world: World) -> None:
    a, b = world.nodes
    told: list[int] = []

    async def note(event: LeaderboardReset) -> None:
        told.append(event.reset_time)

    b.events.subscribe(LeaderboardReset, note)
    await a.boards.create("daily", reset="@daily")
    await b.boards.get(["daily"])
    world.clock.advance(DAY)
    end = int(world.clock.now()) // DAY * DAY
    assert (await a.store.claim_end("daily", end, "a")).granted
    assert await b.announcer.announce() == world.clock.now() + 1
    assert told == []
    await world.database.execute("UPDATE leaderboards SET announcing_until = now()")
    await b.announcer.announce()
    assert told == [end]


async def test_ranks_live_in_a_cluster_of_three_masters(database: Database, quick: None, tmp_path: Path) -> None:
    chance, owners = random.Random(7), [new_id() for _ in range(30)]
    async with valkey_cluster(tmp_path) as ports, contextlib.AsyncExitStack() as stack:
        world = World(database, ports[0])
        for name, port in zip("ab", ports, strict=False):
            node = Node(name, world, f"redis://127.0.0.1:{port}")
            world.nodes.append(node)
            stack.push_async_callback(node.stop)
            await node.start()
        boards: list[str] = []
        async with redis.asyncio.RedisCluster("127.0.0.1", ports[0]) as client:
            # Where a board's keys live depends on when it was made: boards are made until each master has some.
            while len(boards) < 6 or min([await client.dbsize(target_nodes=at) for at in client.get_primaries()]) == 0:
                assert len(boards) < 100
                boards.append(f"board {{{len(boards)}}}")
                await world.nodes[0].boards.create(boards[-1])
                await play(world, boards[-1], chance, owners, 40)
            for board in boards:
                await world.agree(board)
            await client.flushall(target_nodes=redis.asyncio.RedisCluster.PRIMARIES)
        for board in boards:
            await play(world, board, chance, owners, 20)
            await world.agree(board)


async def test_whole_nodes_share_boards_and_ranks_and_outlive_each_other(database_url: str) -> None:
    game = Game("race")

    @game.on_start
    async def start(ctx: Any) -> None:
        await ctx.leaderboards.create("sprint", sort="asc", reset="@daily")

    port = free_port()
    async with running(valkey_command(port), port):
        settings = Settings(cluster=QUICK, redis_url=f"redis://127.0.0.1:{port}")
        async with several(database_url, game, settings=settings) as (a, b):
            ann, bob = await a.bot(), await b.bot()

            async def submit(bot: Bot, score: int) -> str:
                return (await bot.call("POST", "/v2/leaderboard/sprint", {"score": str(score)}))["rank"]

            assert [await submit(ann, 60), await submit(bob, 50), await submit(ann, 40)] == ["1", "1", "1"]
            for bot in (ann, bob):
                page = await bot.call(
                    "GET", "/v2/leaderboard/sprint", query={"owner_ids": [ann.id, bob.id], "limit": 5}
                )
                assert [record["rank"] for record in page["records"]] == ["1", "2"]
                assert [(record["owner_id"], record["rank"]) for record in page["owner_records"]] == [
                    (ann.id, "1"),
                    (bob.id, "2"),
                ]
                assert page["rank_count"] == "2"
            await a.node.stop()
            assert await submit(bob, 30) == "1"
