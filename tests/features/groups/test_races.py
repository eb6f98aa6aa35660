"""Accounts and groups that are deleted while players join, on two nodes: no member is left of what is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from palestra.core.errors import PalestraError
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.groups.contract import GroupNotFound, UsersNotFound
from tests.features.groups.world import World

ROUNDS = 30


@pytest.fixture
async def nodes(database: Database, tmp_path: Path) -> AsyncIterator[list[World]]:
    worlds = [World(database, tmp_path) for _ in range(2)]
    yield worlds
    for world in worlds:
        await world.stop()


async def orphans(database: Database) -> list[tuple[str, str]]:
    """Members of no group, and nobody as members."""
    rows = await database.fetch("""
        SELECT group_id::text, user_id::text FROM group_members m
        WHERE NOT EXISTS (SELECT FROM users WHERE id = m.user_id)
            OR NOT EXISTS (SELECT FROM groups WHERE id = m.group_id)
    """)
    return [(row[0], row[1]) for row in rows]


async def test_accounts_and_groups_deleted_while_players_come_on_two_nodes_leave_no_members(nodes: list[World]) -> None:
    world = nodes[0]
    for number in range(ROUNDS):
        chance = random.Random(number)
        names = [f"{number}-{place}" for place in range(8)]
        ids = await world.players.make(*names)
        owner, gone, stays = ids[0], ids[-3:], ids[1:-3]
        kept, closed, deleted, left = [
            (await world.groups.create(owner if place < 3 else gone[0], f"{number}-{place}", open=place != 1)).id
            for place in range(4)
        ]

        async def join(node: World, group: str, one: str) -> None:
            await node.groups.join(group, one, "")

        acts: list[Awaitable[Any]] = [
            join(chance.choice(nodes), group, one) for group in (kept, closed, deleted, left) for one in ids[1:]
        ]
        acts += [chance.choice(nodes).groups.add_users(kept, [one], caller_id=owner) for one in gone]
        acts += [chance.choice(nodes).players.delete(one, chance.choice(nodes).groups) for one in gone]
        acts.append(chance.choice(nodes).groups.create(gone[1], f"{number}-of-gone"))
        acts.append(chance.choice(nodes).groups.delete(deleted, caller_id=owner))
        chance.shuffle(acts)
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*acts, return_exceptions=True)
        failed = {type(one) for one in outcomes if isinstance(one, BaseException)}
        assert failed <= {AccountNotFound, GroupNotFound, UsersNotFound}
        assert await orphans(world.database) == []
        assert set(await world.states(kept)) == set(await world.states(closed)) == {owner, *stays}
        assert await world.states(deleted) == await world.states(left) == {}
        await world.assert_counts_are_true()


async def test_whoever_is_gone_gets_in_nowhere_and_those_of_the_round_go_on(nodes: list[World]) -> None:
    world = nodes[0]
    ann, bob, gone = await world.players.make("ann", "bob", "gone")
    group = (await world.groups.create(ann, "group", open=True)).id
    await world.players.delete(gone, world.groups)
    outcomes = await asyncio.gather(*(world.groups.join(group, one, "") for one in (gone, bob)), return_exceptions=True)
    assert [type(one) for one in outcomes] == [AccountNotFound, type(None)]
    refusals: list[tuple[Awaitable[Any], type[PalestraError]]] = [
        (world.groups.add_users(group, [gone], caller_id=ann), UsersNotFound),
        (world.groups.create(gone, "another"), AccountNotFound),
    ]
    for act, refusal in refusals:
        with pytest.raises(refusal):
            await act
    assert set(await world.states(group)) == {ann, bob}
    assert await world.database.fetchval("SELECT count(*) FROM groups") == 1
    await world.assert_counts_are_true()


async def test_an_id_that_is_none_fails_nobody_who_shares_the_round(nodes: list[World]) -> None:
    world = nodes[0]
    ann, bob, eve = await world.players.make("ann", "bob", "eve")
    group = (await world.groups.create(ann.upper(), "g", open=True)).id
    outcomes = await asyncio.gather(
        world.groups.join(group, "bot-1", "bot"),
        world.groups.join(group, bob, "bob"),
        world.groups.join(group, eve.upper(), "eve"),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [AccountNotFound, type(None), type(None)]
    await world.groups.leave(group, eve.upper(), "eve")
    found = (await world.groups.list_users(group)).members
    assert {one.user.id for one in found} == {ann, bob}
