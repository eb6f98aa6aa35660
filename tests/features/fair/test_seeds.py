"""Seeds of players and rounds: commitments that hold, nonces that are used once, secrets that stay sealed."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from palestra.core.clock import ManualClock, utc
from palestra.core.errors import Code
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.fair.contract import (
    BadKey,
    BadPage,
    BadSeed,
    ClientSeedFixed,
    Commitment,
    Draw,
    RoundNotFound,
    RoundRevealed,
    SeedPair,
)
from palestra.features.fair.service import FairService
from tests.features.accounts.test_sealed_rows import everything_in

NewPlayer = Callable[[], Awaitable[str]]
NewFair = Callable[[], FairService]


class SomePlayer(msgspec.Struct):
    id: str


def sha256(server_seed: str) -> str:
    return hashlib.sha256(bytes.fromhex(server_seed)).hexdigest()


# -- players


async def test_draws_use_one_nonce_each_of_the_pair_that_was_published(fair: FairService, ann: str) -> None:
    pair = await fair.seeds(ann)
    assert (pair.number, pair.nonce, len(pair.commitment), len(pair.client_seed)) == (1, 0, 64, 32)
    draws = [await fair.draw(ann), await fair.draw(SomePlayer(ann.upper())), await fair.draw(SomePlayer(ann))]
    assert [(one.commitment, one.client_seed, one.nonce) for one in draws] == [
        (pair.commitment, pair.client_seed, nonce) for nonce in range(3)
    ]
    assert await fair.seeds(ann) == msgspec.structs.replace(pair, nonce=3)


async def test_a_first_draw_makes_the_pair(fair: FairService, ann: str) -> None:
    draw = await fair.draw(ann)
    assert (draw.nonce, draw.commitment) == (0, (await fair.seeds(ann)).commitment)


async def test_rotation_reveals_what_was_committed_and_goes_on_with_what_was_announced(
    fair: FairService, ann: str, clock: ManualClock
) -> None:
    first = await fair.seeds(ann)
    drawn = [(draw.nonce, draw.shuffle(range(52)), draw.fraction()) for draw in [await fair.draw(ann) for _ in "123"]]
    clock.advance(60)
    rotation = await fair.rotate(ann, "my own words")
    revealed, second = rotation.revealed, rotation.active
    assert sha256(revealed.server_seed) == revealed.commitment == first.commitment
    assert (revealed.number, revealed.client_seed, revealed.draws) == (1, first.client_seed, 3)
    assert revealed.revealed_at == utc(clock.now())
    assert (second.number, second.commitment, second.client_seed, second.nonce) == (
        2,
        first.next_commitment,
        "my own words",
        0,
    )
    assert second.next_commitment not in (first.commitment, second.commitment)
    assert await fair.seeds(ann) == second
    assert [
        (nonce, replay.shuffle(range(52)), replay.fraction())
        for nonce in range(3)
        for replay in [fair.replay(revealed.server_seed, revealed.client_seed, nonce)]
    ] == drawn

    await fair.draw(ann)
    third = await fair.rotate(ann)
    assert sha256(third.revealed.server_seed) == second.commitment
    assert third.active.client_seed == "my own words"


async def test_a_player_who_never_drew_can_choose_a_client_seed_and_leaves_no_history(
    fair: FairService, ann: str
) -> None:
    rotation = await fair.rotate(ann, "mine")
    assert rotation.revealed.draws == 0
    assert sha256(rotation.revealed.server_seed) == rotation.revealed.commitment
    assert (await fair.draw(ann)).client_seed == "mine"
    assert (await fair.history(ann)).seeds == ()


async def test_the_history_holds_every_revealed_seed_newest_first(
    fair: FairService, ann: str, bob: str, clock: ManualClock
) -> None:
    revealed = []
    for _ in range(5):
        await fair.draw(ann)
        clock.advance(1)
        revealed.insert(0, (await fair.rotate(ann)).revealed)
    await fair.draw(bob)
    await fair.rotate(bob)
    assert (await fair.history(ann)).seeds == tuple(revealed)
    assert revealed[0].revealed_at - revealed[4].revealed_at == timedelta(seconds=4)
    seen, cursor, pages = [], "", 0
    while pages == 0 or cursor:
        page = await fair.history(ann, 2, cursor)
        seen, cursor, pages = [*seen, *page.seeds], page.cursor, pages + 1
    assert (seen, pages) == (revealed, 3)
    assert (await fair.history(ann, 5)).cursor == ""
    assert (await fair.history(new_id())).seeds == ()
    for limit in (0, 101):
        with pytest.raises(BadPage, match="1 to 100 seeds"):
            await fair.history(ann, limit)
    with pytest.raises(BadPage):
        await fair.history(ann, 2, "nonsense!")


async def test_nobody_draws_for_a_player_that_does_not_exist(fair: FairService, ann: str) -> None:
    stranger = new_id()
    outcomes = await asyncio.gather(*(fair.draw(who) for who in (stranger, ann, "no id")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AccountNotFound, type(await fair.draw(ann)), AccountNotFound]
    for call in (fair.seeds(stranger), fair.rotate(stranger)):
        with pytest.raises(AccountNotFound):
            await call


# -- nonces


async def test_a_nonce_is_never_used_twice_by_many_at_once_on_two_nodes(
    new_fair: NewFair, new_player: NewPlayer
) -> None:
    nodes = [new_fair(), new_fair()]
    players = [await new_player() for _ in range(5)]
    draws = await asyncio.gather(*(nodes[n % 2].draw(players[n // 2 % 5]) for n in range(500)))
    used: dict[str, list[int]] = {}
    for draw in draws:
        used.setdefault(draw.commitment, []).append(draw.nonce)
    assert sorted(map(sorted, used.values())) == [list(range(100))] * 5


async def test_draws_of_one_moment_have_consecutive_nonces_in_the_order_of_asking(fair: FairService, ann: str) -> None:
    await fair.seeds(ann)
    draws = await asyncio.gather(*(fair.draw(ann) for _ in range(50)))
    assert [draw.nonce for draw in draws] == list(range(50))


async def test_rotations_amid_draws_neither_lose_nor_repeat_a_nonce(new_fair: NewFair, ann: str) -> None:
    nodes = [new_fair(), new_fair()]
    first = await nodes[0].seeds(ann)

    async def rotate() -> list[SeedPair]:
        return [(await nodes[1].rotate(ann, f"seed {n}")).active for n in range(10)]

    async def draw(node: FairService) -> list[Draw]:
        return [await node.draw(ann) for _ in range(60)]

    pairs, *draws = await asyncio.gather(rotate(), draw(nodes[0]), draw(nodes[1]))
    active = await nodes[0].seeds(ann)
    counts = Counter((one.commitment, one.client_seed) for found in draws for one in found)
    nonces = {(one.commitment, one.nonce) for found in draws for one in found}
    assert len(nonces) == 120
    history = {(seed.commitment, seed.client_seed): seed.draws for seed in (await nodes[0].history(ann)).seeds}
    history |= {(active.commitment, active.client_seed): active.nonce} if active.nonce else {}
    assert counts == history
    published = {(pair.commitment, pair.client_seed) for pair in [first, *pairs]}
    assert set(counts) <= published


async def test_a_draw_that_is_cancelled_leaves_at_most_its_nonce_unused(fair: FairService, ann: str) -> None:
    await fair.seeds(ann)
    waiting = [asyncio.ensure_future(fair.draw(ann)) for _ in range(100)]
    # Some are cancelled while they wait for their round, the others while it is in flight.
    for task in waiting[::4]:
        task.cancel()
    await waiting[1]
    later = [asyncio.ensure_future(fair.draw(ann)) for _ in range(100)]
    await asyncio.sleep(0)
    for task in later[::4]:
        task.cancel()
    outcomes = await asyncio.gather(*waiting, *later, return_exceptions=True)
    nonces = [one.nonce for one in outcomes if not isinstance(one, BaseException)]
    assert len(nonces) == len(set(nonces)) == 150
    assert nonces == sorted(nonces)
    assert (await fair.seeds(ann)).nonce > max(nonces)


async def test_connections_that_die_amid_draws_repeat_no_nonce(new_fair: NewFair, ann: str, database: Database) -> None:
    fair, used = new_fair(), []

    async def draw() -> None:
        for _ in range(20):
            used.append((await fair.draw(ann)).nonce)

    async def kill() -> int:
        ended = [
            await database.fetch(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE '%fair_seeds%' AND pid <> pg_backend_pid()"""
            )
            for _ in range(5)
        ]
        return sum(map(len, ended))

    await fair.seeds(ann)
    killed, *_ = await asyncio.gather(kill(), *(draw() for _ in range(20)))
    assert killed > 0
    assert len(used) == len(set(used)) == 400
    assert (await new_fair().draw(ann)).nonce > max(used)


# -- keys


async def test_a_draw_with_a_key_is_made_once_and_has_the_same_values_every_time(
    new_fair: NewFair, ann: str, bob: str
) -> None:
    fair = new_fair()
    first = await fair.draw(ann, key="round 1")
    values = first.shuffle(range(52))
    other = await fair.draw(ann, key="round 2")
    again = await new_fair().draw(SomePlayer(ann.upper()), key="round 1")
    assert (again.commitment, again.client_seed, again.nonce) == (first.commitment, first.client_seed, 0)
    assert again.shuffle(range(52)) == values
    assert other.nonce == 1
    assert (await fair.draw(bob, key="round 1")).commitment != first.commitment
    assert (await fair.draw(ann)).nonce == 2


async def test_a_draw_with_a_key_outlives_the_seed_it_came_from(new_fair: NewFair, ann: str) -> None:
    fair = new_fair()
    await fair.draw(ann)
    values = (await fair.draw(ann, key="round")).dice(20, 6)
    revealed = (await fair.rotate(ann, "another")).revealed
    for _ in range(2):
        again = await new_fair().draw(ann, key="round")
        assert (again.commitment, again.client_seed, again.nonce) == (revealed.commitment, revealed.client_seed, 1)
        assert again.dice(20, 6) == values
        await fair.draw(ann)
        await fair.rotate(ann)
    assert fair.replay(revealed.server_seed, revealed.client_seed, 1).dice(20, 6) == values
    assert (await fair.seeds(ann)).nonce == 0


async def test_the_same_key_from_many_callers_on_two_nodes_uses_one_nonce(
    new_fair: NewFair, new_player: NewPlayer
) -> None:
    nodes = [new_fair(), new_fair()]
    players = [await new_player() for _ in range(3)]
    wishes = [(nodes[n % 2], players[n // 2 % 3], f"round {n // 6 % 10}") for n in range(240)]
    plain = [(nodes[n % 2], players[n % 3]) for n in range(60)]
    keyed, unkeyed = await asyncio.gather(
        asyncio.gather(*(node.draw(player, key=key) for node, player, key in wishes)),
        asyncio.gather(*(node.draw(player) for node, player in plain)),
    )
    found: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for (_, player, key), draw in zip(wishes, keyed, strict=True):
        found.setdefault((player, key), set()).add((draw.commitment, draw.nonce))
    assert {len(draws) for draws in found.values()} == {1}
    used = [draw for draws in found.values() for draw in draws] + [(one.commitment, one.nonce) for one in unkeyed]
    assert len(found) == 30 and len(set(used)) == len(used) == 90
    assert [(await nodes[0].seeds(player)).nonce for player in players] == [30, 30, 30]


async def test_a_key_that_cannot_be_one_is_refused_and_uses_nothing(fair: FairService, ann: str) -> None:
    for key in ("", "k" * 129, "nul\0"):
        with pytest.raises(BadKey, match="1 to 128 printable characters"):
            await fair.draw(ann, key=key)
    with pytest.raises(AccountNotFound):
        await fair.draw(new_id(), key="round")
    assert (await fair.draw(ann, key="k" * 128)).nonce == 0


async def test_connections_that_die_amid_draws_with_keys_burn_no_nonce(
    new_fair: NewFair, ann: str, database: Database
) -> None:
    fair = new_fair()
    await fair.seeds(ann)

    async def kill() -> None:
        for _ in range(5):
            await database.fetch(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE '%fair_keyed%' AND pid <> pg_backend_pid()"""
            )

    async def draw(caller: int) -> list[int]:
        return [(await fair.draw(ann, key=f"{caller} {n}")).nonce for n in range(20)]

    _, *nonces = await asyncio.gather(kill(), *(draw(caller) for caller in range(10)))
    assert sorted(nonce for drawn in nonces for nonce in drawn) == list(range(200))


# -- rounds


async def test_a_round_draws_from_its_own_seed_and_reveals_it(fair: FairService, clock: ManualClock) -> None:
    commitment = await fair.commit()
    assert commitment == Commitment(commitment.id, commitment.commitment, "palestra-fair-1")
    draws = [await fair.draw_round(commitment.id, "all of us") for _ in range(2)]
    assert [(one.commitment, one.client_seed, one.nonce) for one in draws] == [
        (commitment.commitment, "all of us", nonce) for nonce in range(2)
    ]
    revealed = await fair.reveal(commitment.id)
    assert sha256(revealed.server_seed) == revealed.commitment == commitment.commitment
    assert (revealed.client_seed, revealed.draws, revealed.revealed_at) == ("all of us", 2, utc(clock.now()))
    assert draws[1].dice(9, 6) == fair.replay(revealed.server_seed, "all of us", 1).dice(9, 6)
    clock.advance(60)
    assert await fair.reveal(commitment.id) == revealed


async def test_committing_again_to_a_round_changes_nothing(new_fair: NewFair) -> None:
    nodes = [new_fair(), new_fair()]
    made = await asyncio.gather(*(nodes[n % 2].commit("round 7") for n in range(20)))
    assert len(set(made)) == 1
    await nodes[0].reveal("round 7")
    with pytest.raises(RoundRevealed):
        await nodes[1].commit("round 7")


async def test_nothing_is_drawn_from_a_round_that_was_revealed(fair: FairService) -> None:
    await fair.commit("short")
    assert (await fair.reveal("short")).client_seed == ""
    with pytest.raises(RoundRevealed) as refused:
        await fair.draw_round("short", "late")
    assert refused.value.code == Code.FAILED_PRECONDITION
    assert (await fair.reveal("short")).draws == 0


async def test_the_first_draw_fixes_the_client_seed_of_a_round(fair: FairService) -> None:
    await fair.commit("table")
    wishes = ["first", "second", "first", "third"]
    outcomes = await asyncio.gather(*(fair.draw_round("table", seed) for seed in wishes), return_exceptions=True)
    assert [one.nonce if not isinstance(one, BaseException) else type(one) for one in outcomes] == [
        0,
        ClientSeedFixed,
        1,
        ClientSeedFixed,
    ]
    with pytest.raises(ClientSeedFixed):
        await fair.draw_round("table", "second")
    assert (await fair.draw_round("table", "first")).nonce == 2
    assert (await fair.reveal("table")).draws == 3


async def test_a_round_is_nobody_elses_and_no_player_is_one(fair: FairService, ann: str) -> None:
    await fair.seeds(ann)
    for round_id in (ann, "never committed"):
        with pytest.raises(RoundNotFound):
            await fair.reveal(round_id)
        with pytest.raises(RoundNotFound):
            await fair.draw_round(round_id, "seed")
    for round_id in ("", "r" * 129, "nul\0", "half \ud83d"):
        with pytest.raises(BadSeed, match="1 to 128 printable characters"):
            await fair.commit(round_id)
    await fair.commit("ü" * 128)


# -- what lies in the database


async def test_no_seed_in_use_lies_in_the_database_in_the_clear(
    fair: FairService, ann: str, database: Database
) -> None:
    await fair.draw(ann)
    await fair.commit("round")
    dump = await everything_in(database)
    seeds = [(await fair.rotate(ann)).revealed, (await fair.rotate(ann)).revealed, await fair.reveal("round")]
    assert [seed for seed in seeds if bytes.fromhex(seed.commitment) not in dump] == []
    for seed in seeds:
        assert bytes.fromhex(seed.server_seed) not in dump
        assert seed.server_seed.encode() not in dump
    # The one that drew is shown for ever.
    assert bytes.fromhex(seeds[0].server_seed) in await everything_in(database)


async def test_a_sealed_seed_moved_to_another_player_fails_loudly_and_alone(
    fair: FairService, ann: str, bob: str, new_player: NewPlayer, database: Database
) -> None:
    dan = await new_player()
    for player in (ann, bob, dan):
        await fair.draw(player)
    await database.execute(
        "UPDATE fair_seeds SET sealed = (SELECT sealed FROM fair_seeds WHERE owner = $2) WHERE owner = $1", ann, bob
    )
    moved, *fine = await asyncio.gather(*(fair.draw(who) for who in (ann, bob, dan)), return_exceptions=True)
    assert type(moved).__name__ == "SealBroken"
    # Their first round trip failed with the moved one's and was repeated for each alone: nonce 1 stays unused.
    assert [one.nonce for one in fine if not isinstance(one, BaseException)] == [2, 2]


async def test_with_the_account_go_its_seeds(fair: FairService, ann: str, bob: str, database: Database) -> None:
    for player in (ann, bob):
        await fair.draw(player, key="round")
        await fair.rotate(player)
    await database.execute("DELETE FROM users WHERE id = $1", ann)
    assert await database.fetchval("SELECT array_agg(owner) FROM fair_seeds") == [bob]
    for table in ("fair_past_seeds", "fair_keyed_draws"):
        assert await database.fetchval(f"SELECT array_agg(owner) FROM {table}") == [bob]
    with pytest.raises(AccountNotFound):
        await fair.draw(ann)
