"""Accounts that are deleted while friendships with them are made, on two nodes: nothing is left of whoever is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.friends.contract import OwnId
from tests.features.friends.world import World

ROUNDS = 30


@pytest.fixture
async def nodes(database: Database, tmp_path: Path) -> AsyncIterator[list[World]]:
    worlds = [World(database, tmp_path) for _ in range(2)]
    yield worlds
    for world in worlds:
        await world.stop()


async def orphans(database: Database) -> list[tuple[str, str]]:
    """Edges from or to nobody."""
    rows = await database.fetch("""
        SELECT user_id::text, friend_id::text FROM friends f
        WHERE NOT EXISTS (SELECT FROM users WHERE id = f.user_id)
            OR NOT EXISTS (SELECT FROM users WHERE id = f.friend_id)
    """)
    return [(row[0], row[1]) for row in rows]


async def test_an_account_deleted_amid_invitations_of_two_nodes_leaves_no_edge_and_fails_nobody_else(
    nodes: list[World],
) -> None:
    world = nodes[0]
    for number in range(ROUNDS):
        chance = random.Random(number)
        names = [f"{number}-{place}" for place in range(7)]
        ids = await world.players.make(*names)
        gone, bystander = set(ids[:2]), ids[-1]
        await world.friends.add(ids[0], names[0], ids[1:3])
        await world.friends.block(ids[3], names[3], ids[:2])

        async def add(node: World, me: int, ids: list[str] = ids, names: list[str] = names) -> None:
            others = [one for one in ids if one != ids[me]]
            # One by one they share rounds, together they are a transaction.
            for targets in (*([one] for one in others), others):
                await node.friends.add(ids[me], names[me], targets)

        acts: list[Awaitable[None]] = [add(node, me) for node in nodes for me in range(len(ids))]
        acts += [chance.choice(nodes).players.delete(one, chance.choice(nodes).friends) for one in gone]
        chance.shuffle(acts)
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*acts, return_exceptions=True)
        assert {type(one) for one in outcomes} <= {type(None), AccountNotFound}
        # Only who is gone themselves can be told so.
        assert sum(isinstance(one, AccountNotFound) for one in outcomes) <= len(nodes) * len(gone)
        assert await orphans(world.database) == []
        assert {other for one, other in await world.edges() if one == bystander} == set(ids) - gone - {bystander}
        await world.assert_counts_are_true()


async def test_an_act_upon_whoever_is_gone_changes_nothing_and_those_of_its_round_go_on(nodes: list[World]) -> None:
    world = nodes[0]
    ann, bob, gone = await world.players.make("ann", "bob", "gone")
    await world.players.delete(gone, world.friends)
    outcomes = await asyncio.gather(
        world.friends.add(ann, "ann", [gone]),
        world.friends.add(gone, "gone", [bob]),
        world.friends.add(ann, "ann", [bob]),
        world.friends.block(ann, "ann", [gone]),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [type(None), AccountNotFound, type(None), type(None)]
    assert {(one, other) for one, other in await world.edges()} == {(ann, bob), (bob, ann)}
    await world.assert_counts_are_true()


async def test_an_id_that_is_none_fails_nobody_who_shares_the_round(nodes: list[World]) -> None:
    world = nodes[0]
    ann, bob, eve = await world.players.make("ann", "bob", "eve")
    outcomes = await asyncio.gather(
        world.friends.add("bot-1", "bot", [bob]),
        world.friends.add(ann, "ann", [bob]),
        world.friends.add(eve.upper(), "eve", [bob]),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [AccountNotFound, type(None), type(None)]
    found = (await world.friends.list(bob)).friends
    assert {one.user.id for one in found} == {ann, eve}
    with pytest.raises(OwnId):
        await world.friends.add(ann.upper(), "ann", [ann])
