"""Lives of rounds: opened, staked, settled or cancelled, once for ever, with money that adds up."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import AccountClosed, InsufficientFunds, LineKind, UnknownAsset
from palestra.features.rounds.contract import (
    DEADLINE_SECONDS_MAX,
    JSON_BYTES_MAX,
    KEY_CHARS_MAX,
    PLAYERS_MAX,
    BadPage,
    BadRound,
    Round,
    RoundConflict,
    RoundNotFound,
    RoundOver,
    Stake,
)
from palestra.features.rounds.service import RoundService
from tests.features.rounds.conftest import COINS, Games, NewPlayer, World


async def opened(rounds: RoundService, *players: str, amount: int = 100, **options: Any) -> Round:
    return await rounds.open(game="dice", stakes=dict.fromkeys(players, amount), **options)


async def test_a_stake_is_held_while_the_round_is_open(rounds: RoundService, world: World, ann: str) -> None:
    round = await opened(rounds, ann, inputs={"above": 50})
    assert round.stakes == (Stake(ann, 100),)
    assert (round.game, round.version, round.inputs, round.ending) == ("dice", "version-1", {"above": 50}, None)
    assert await world.available(ann) == [COINS - 100]
    assert (await world.balance(ann)).held == 100
    assert await rounds.get(round.id) == round


async def test_settling_gives_stakes_to_the_house_which_pays(
    rounds: RoundService, world: World, ann: str, bob: str
) -> None:
    round = await opened(rounds, ann, bob)
    ended = await rounds.settle(round, payouts={ann: 150}, result={"winner": "ann"}, fair={"nonce": 7})
    assert ended.ending is not None
    assert (ended.ending.how, ended.ending.payouts, ended.ending.version) == ("settled", {ann: 150}, "version-1")
    assert (ended.ending.result, ended.ending.fair) == ({"winner": "ann"}, {"nonce": 7})
    assert await world.available(ann, bob) == [COINS + 50, COINS - 100]
    assert await world.house() == 50
    await world.check_nothing_is_held_and_all_adds_up()


async def test_the_house_may_pay_more_than_was_staked(rounds: RoundService, world: World, ann: str) -> None:
    await rounds.settle(await opened(rounds, ann), payouts={ann: 3_500})
    assert await world.house() == -3_400
    await world.check_nothing_is_held_and_all_adds_up()


async def test_cancelling_gives_every_stake_back(rounds: RoundService, world: World, ann: str, bob: str) -> None:
    ended = await rounds.cancel(await opened(rounds, ann, bob), "the table closed")
    assert ended.ending is not None
    assert (ended.ending.how, ended.ending.reason) == ("cancelled", "the table closed")
    assert await world.available(ann, bob) == [COINS, COINS]
    await world.check_nothing_is_held_and_all_adds_up()


@pytest.mark.parametrize("payout", [0, 25])
async def test_a_round_may_be_free(rounds: RoundService, world: World, ann: str, payout: int) -> None:
    round = await opened(rounds, ann, amount=0)
    assert round.holds == (0,)
    ended = await rounds.settle(round, payouts={ann: payout}, result={"rolled": 6})
    assert await rounds.settle(round.id, payouts={ann: payout}, result={"rolled": 6}) == ended
    with pytest.raises(RoundOver):
        await rounds.cancel(round)
    assert await world.available(ann) == [COINS + payout]
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_free_round_can_be_cancelled(rounds: RoundService, ann: str) -> None:
    round = await opened(rounds, ann, amount=0, key="once")
    ended = await rounds.cancel(round)
    assert await rounds.cancel(round) == ended == await opened(rounds, ann, amount=0, key="once")
    with pytest.raises(RoundOver, match="cancelled at"):
        await rounds.settle(round, payouts={ann: 1})


async def test_a_round_is_named_by_its_id_or_by_what_was_returned(rounds: RoundService, world: World, ann: str) -> None:
    first, second = await opened(rounds, ann), await opened(rounds, ann)
    by_id = await rounds.settle(first.id, payouts={ann: 10})
    listed = (await rounds.list(ann)).rounds
    assert {round.holds for round in listed} == {None}
    by_listed = await rounds.settle(next(one for one in listed if one.id == second.id), payouts={ann: 10})
    assert by_id.ending is not None and by_listed.ending is not None
    assert by_id.ending.how == by_listed.ending.how == "settled"
    await world.check_nothing_is_held_and_all_adds_up()


# -- later stakes


async def test_stakes_may_be_added_while_the_round_is_open(
    rounds: RoundService, world: World, ann: str, bob: str
) -> None:
    round = await opened(rounds, ann)
    round = await rounds.stake(round, {bob: 60})
    round = await rounds.stake(round, {ann: 40, bob: 1})
    assert sorted((stake.player_id, stake.amount) for stake in round.stakes) == sorted(
        [(ann, 100), (bob, 60), (ann, 40), (bob, 1)]
    )
    assert round.players == (ann, bob) and round.holds is not None and len(round.holds) == 4
    assert await world.available(ann, bob) == [COINS - 140, COINS - 61]
    assert [one.id for one in (await rounds.list(bob)).rounds] == [round.id]
    await rounds.settle(round, payouts={bob: 201})
    assert await world.house() == 0
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_round_in_hand_that_is_out_of_date_ends_with_all_its_stakes(
    rounds: RoundService, world: World, ann: str, bob: str
) -> None:
    old = await opened(rounds, ann)
    await rounds.stake(old.id, {bob: 60})
    ended = await rounds.settle(old, payouts={bob: 5})
    assert {stake.player_id for stake in ended.stakes} == {ann, bob}
    assert await world.house() == 155
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_stake_with_a_key_happens_once(rounds: RoundService, world: World, ann: str, bob: str) -> None:
    round = await opened(rounds, ann)
    once = await rounds.stake(round, {bob: 60}, key="seat 2")
    assert await rounds.stake(round.id, {bob: 60}, key="seat 2") == once
    assert await world.available(bob) == [COINS - 60]
    with pytest.raises(RoundConflict, match="another stake"):
        await rounds.stake(round, {bob: 61}, key="seat 2")


async def test_nothing_can_be_staked_once_the_round_is_over_or_overdue(
    rounds: RoundService, world: World, ann: str, bob: str
) -> None:
    over, late = await opened(rounds, ann), await opened(rounds, ann, deadline_seconds=60)
    await rounds.cancel(over.id)
    with pytest.raises(RoundOver, match="cancelled at"):
        await rounds.stake(over, {bob: 1})
    world.clock.advance(60)
    with pytest.raises(RoundOver, match="no more stakes"):
        await rounds.stake(late, {bob: 1})
    assert await world.available(bob) == [COINS]


async def test_stakes_and_an_end_at_once_lose_nothing(
    rounds: RoundService, world: World, new_player: NewPlayer
) -> None:
    players = [await new_player() for _ in range(8)]
    for _ in range(5):
        round = await opened(rounds, players[0])
        work = [rounds.stake(round.id, {player: 10}) for player in players[1:]]
        work.insert(4, rounds.settle(round))
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert not [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, RoundOver)]
        ended = await rounds.get(round.id)
        staked = [one for at, one in enumerate(outcomes) if at != 4 and isinstance(one, Round)]
        assert len(ended.stakes) == 1 + len(staked)
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_round_takes_a_limited_number_of_stakes(
    rounds: RoundService, world: World, new_player: NewPlayer, ann: str
) -> None:
    players = await asyncio.gather(*[new_player() for _ in range(20)])
    round = await opened(rounds, ann, amount=1)
    for _ in range(PLAYERS_MAX // 20 - 1):
        await rounds.stake(round, dict.fromkeys(players, 1))
    with pytest.raises(BadRound, match="at most 400 stakes"):
        # The round in hand knows of one stake; the rows know better.
        await rounds.stake(round, dict.fromkeys(players, 1))
    round = await rounds.stake(round, dict.fromkeys(players[:19], 1))
    assert len(round.stakes) == PLAYERS_MAX
    await rounds.settle(round, payouts=dict.fromkeys(players, 20))
    await world.check_nothing_is_held_and_all_adds_up()


# -- once for ever


async def test_opening_with_a_key_happens_once(rounds: RoundService, world: World, ann: str) -> None:
    once = await opened(rounds, ann, key="spin 1", inputs={"a": (1, 2)})
    world.clock.advance(30)
    assert await opened(rounds, ann, key="spin 1", inputs={"a": [1, 2]}) == once
    assert await world.available(ann) == [COINS - 100]
    ended = await rounds.settle(once)
    assert await opened(rounds, ann, key="spin 1", inputs={"a": [1, 2]}) == ended


async def test_what_took_all_of_a_players_money_is_known_again(rounds: RoundService, world: World, ann: str) -> None:
    round = await opened(rounds, ann, amount=COINS, key="all of it")
    assert await opened(rounds, ann, amount=COINS, key="all of it") == round
    ended = await rounds.settle(round)
    assert await opened(rounds, ann, amount=COINS, key="all of it") == ended
    assert await world.available(ann) == [0]


@pytest.mark.parametrize(
    "change",
    [{"amount": 101}, {"inputs": {"b": 1}}, {"deadline_seconds": 299}, {"amount": 0}],
    ids=["stake", "inputs", "deadline", "free"],
)
async def test_a_key_stands_for_one_round(rounds: RoundService, world: World, ann: str, change: Any) -> None:
    await opened(rounds, ann, key="spin 1")
    with pytest.raises(RoundConflict, match="another round"):
        await opened(rounds, ann, key="spin 1", **change)
    assert await world.available(ann) == [COINS - 100]


async def test_a_free_rounds_key_cannot_open_one_with_a_stake(rounds: RoundService, world: World, ann: str) -> None:
    await opened(rounds, ann, amount=0, key="spin 1")
    with pytest.raises(RoundConflict):
        await opened(rounds, ann, amount=5, key="spin 1")
    await world.check_nothing_is_held_and_all_adds_up()


async def test_the_same_end_again_gives_the_same_answer(rounds: RoundService, world: World, ann: str) -> None:
    round = await opened(rounds, ann)
    ended = await rounds.settle(round, payouts={ann: 30}, result={"rolled": 4})
    world.clock.advance(1_000)
    for again in (round, round.id, ended):
        assert await rounds.settle(again, payouts={ann: 30}, result={"rolled": 4}) == ended
    assert await world.available(ann) == [COINS - 70]


@pytest.mark.parametrize("other", [{"payouts": {}}, {"result": {"rolled": 5}}, {"fair": {"nonce": 1}}])
async def test_another_end_is_refused_and_says_how_it_ended(rounds: RoundService, ann: str, other: Any) -> None:
    round = await opened(rounds, ann)
    ended = await rounds.settle(round, payouts={ann: 30}, result={"rolled": 4})
    with pytest.raises(RoundOver, match="settled at 2025-06-15") as refusal:
        await rounds.settle(round, **{"payouts": {ann: 30}, "result": {"rolled": 4}, **other})
    assert refusal.value.round == ended
    with pytest.raises(RoundOver):
        await rounds.cancel(round.id)


async def test_a_cancelled_round_stays_cancelled(rounds: RoundService, world: World, ann: str) -> None:
    round = await opened(rounds, ann)
    ended = await rounds.cancel(round, "first")
    assert await rounds.cancel(round, "second") == ended
    with pytest.raises(RoundOver, match="cancelled"):
        await rounds.settle(round, payouts={ann: 500})
    assert await world.available(ann) == [COINS]


async def test_of_many_ends_at_once_exactly_one_counts(
    rounds: RoundService, after_a_crash: RoundService, world: World, ann: str
) -> None:
    for _ in range(10):
        round = await opened(rounds, ann)
        outcomes = await asyncio.gather(
            *[node.settle(round.id, payouts={ann: 70 + n}) for n in range(3) for node in (rounds, after_a_crash)],
            *[node.cancel(round.id) for node in (rounds, after_a_crash)],
            return_exceptions=True,
        )
        ends = {str(one.ending) for one in outcomes if isinstance(one, Round)}
        assert len(ends) == 1 and str((await rounds.get(round.id)).ending) in ends
        assert {type(one) for one in outcomes} == {Round, RoundOver}
    await world.check_nothing_is_held_and_all_adds_up()


# -- refusals


async def test_if_one_player_cannot_pay_nobodys_stake_is_held(
    rounds: RoundService, world: World, ann: str, bob: str
) -> None:
    with pytest.raises(InsufficientFunds):
        await rounds.open(game="dice", stakes={ann: 10, bob: COINS + 1}, key="table 1")
    assert await world.available(ann, bob) == [COINS, COINS]
    assert (await rounds.list(ann)).rounds == ()
    # A refused opening does not use its key up.
    assert (await rounds.open(game="dice", stakes={ann: 10, bob: COINS}, key="table 1")).ending is None


async def test_payouts_go_to_players_of_the_round_only(rounds: RoundService, world: World, ann: str, bob: str) -> None:
    round = await opened(rounds, ann)
    with pytest.raises(BadRound, match=f"{bob} takes no part"):
        await rounds.settle(round, payouts={bob: 1})
    await rounds.settle(round)
    assert await world.house() == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stakes": {}}, "1 to 400 players"),
        ({"stakes": {new_id(): 1 for _ in range(PLAYERS_MAX + 1)}}, "1 to 400 players"),
        ({"stakes": {"ann": 1}}, "player's id"),
        ({"stakes": {5: 1}}, "player's id"),
        ({"stakes": {new_id(): -1}}, "whole number"),
        ({"stakes": {new_id(): True}}, "whole number"),
        ({"stakes": {new_id(): 1.0}}, "whole number"),
        ({"stakes": {new_id(): 2**63}}, "whole number"),
        ({"game": "cards"}, "no game 'cards'"),
        ({"policy": "keep"}, "cancel, settle"),
        ({"policy": "settle"}, "settle_round"),
        ({"deadline_seconds": 0}, "whole seconds"),
        ({"deadline_seconds": DEADLINE_SECONDS_MAX + 1}, "whole seconds"),
        ({"deadline_seconds": 1.5}, "whole seconds"),
        ({"key": ""}, "1 to 256 characters"),
        ({"key": "k" * (KEY_CHARS_MAX + 1)}, "1 to 256 characters"),
        ({"inputs": {"a": object()}}, "cannot be written as JSON"),
        ({"inputs": [1]}, "must be a mapping"),
        ({"inputs": {"a": "x" * JSON_BYTES_MAX}}, "16384 bytes"),
        ({"inputs": {"a": "\ud800"}}, "cannot be written as JSON"),
    ],
)
async def test_a_round_that_cannot_be_is_refused(
    rounds: RoundService, world: World, ann: str, change: Any, message: str
) -> None:
    with pytest.raises(BadRound, match=message):
        await rounds.open(**{"game": "dice", "stakes": {ann: 1}, **change})
    await world.check_nothing_is_held_and_all_adds_up()


async def test_unknown_players_and_assets_are_refused(rounds: RoundService, ann: str) -> None:
    with pytest.raises(AccountNotFound):
        await opened(rounds, new_id())
    with pytest.raises(UnknownAsset):
        await opened(rounds, ann, asset="gems")


@pytest.mark.parametrize("round_id", ["", "no id", "61d2b3ac-0cdd-4da6-bf02-4d4465740237"])
async def test_rounds_that_do_not_exist_are_not_found(rounds: RoundService, ann: str, round_id: str) -> None:
    for work in (rounds.get(round_id), rounds.record(round_id), rounds.settle(round_id), rounds.cancel(round_id)):
        with pytest.raises(RoundNotFound):
            await work
    with pytest.raises(RoundNotFound):
        await rounds.stake(round_id, {ann: 1})


async def test_awkward_text_is_kept_as_it_is(rounds: RoundService, ann: str) -> None:
    inputs = {"text": "nul \0, quotes ' \" \\, ünïcödé", "big": 2**60, "small": 0.1, "none": None}
    round = await opened(rounds, ann, inputs=inputs, key="nul \0 and half \ud800")
    assert (await rounds.get(round.id)).inputs == inputs
    ended = await rounds.cancel(round, "nul \0 and half \ud800" + "x" * 500)
    assert ended.ending is not None and ended.ending.reason.startswith("nul  and half ?x")
    assert await rounds.get(round.id) == ended


# -- records


async def test_the_record_holds_all_that_the_ledger_wrote(rounds: RoundService, ann: str, bob: str) -> None:
    round = await opened(rounds, ann)
    await rounds.stake(round, {bob: 60})
    ended = await rounds.settle(round, payouts={ann: 160})
    record = await rounds.record(round.id)
    assert record.round == ended
    assert [(line.step, line.kind, line.amount) for line in record.lines] == [
        (LineKind.HOLD, "round.stake", 100),
        (LineKind.HOLD, "round.stake", 60),
        (LineKind.POST, "round.settle", 100),
        (LineKind.POST, "round.settle", 60),
        (LineKind.TRANSFER, "round.payout", 160),
    ]
    assert {line.reference for line in record.lines} == {round.id}
    assert ended.holds == tuple(line.hold for line in record.lines[2:4])


async def test_a_cancelled_rounds_record_shows_what_was_given_back(rounds: RoundService, ann: str) -> None:
    round = await opened(rounds, ann)
    await rounds.cancel(round)
    lines = (await rounds.record(round.id)).lines
    assert [(line.step, line.kind) for line in lines] == [
        (LineKind.HOLD, "round.stake"),
        (LineKind.VOID, "round.void"),
    ]


async def test_the_version_of_the_code_is_that_of_the_moment(rounds: RoundService, games: Games, ann: str) -> None:
    round = await opened(rounds, ann)
    games.version = "version-2"
    ended = await rounds.settle(round)
    assert ended.ending is not None
    assert (ended.version, ended.ending.version) == ("version-1", "version-2")


@pytest.mark.parametrize("table", ["rounds", "round_stakes", "round_results"])
async def test_records_are_never_changed_or_deleted(
    rounds: RoundService, database: Database, ann: str, table: str
) -> None:
    round = await opened(rounds, ann)
    await rounds.stake(round, {ann: 1})
    ended = await rounds.settle(round.id)
    changed = f"UPDATE {table} SET {'id' if table == 'rounds' else 'round_id'} = NULL"
    for statement in (changed, f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed"):
            await database.execute(statement)
    assert await rounds.get(round.id) == ended


# -- lists


async def test_rounds_are_listed_newest_first_page_by_page(
    rounds: RoundService, world: World, ann: str, bob: str
) -> None:
    made = []
    for _ in range(5):
        made.append((await opened(rounds, ann, amount=1)).id)
        await opened(rounds, bob, amount=1)
        world.clock.advance(1)
    pages, cursor = [], ""
    while True:
        page = await rounds.list(ann, 2, cursor)
        pages.append([round.id for round in page.rounds])
        cursor = page.cursor
        if not cursor:
            break
    newest = made[::-1]
    assert pages == [newest[:2], newest[2:4], newest[4:]]


@pytest.mark.parametrize(("limit", "cursor"), [(0, ""), (101, ""), (10, "?"), (10, "gqNhYmOjZGVm")])
async def test_pages_that_do_not_exist_are_refused(rounds: RoundService, ann: str, limit: int, cursor: str) -> None:
    with pytest.raises(BadPage):
        await rounds.list(ann, limit, cursor)


# -- crowds


async def test_two_hundred_rounds_at_once(rounds: RoundService, world: World, new_player: NewPlayer) -> None:
    players = await asyncio.gather(*[new_player() for _ in range(20)])

    async def play(number: int) -> None:
        one, other = players[number % 20], players[(number * 7 + 3) % 20]
        round = await rounds.open(game="dice", stakes={one: 20, other: 10} if one != other else {one: 30})
        if number % 5 == 0:
            round = await rounds.stake(round, {other: 3})
        if number % 3 == 0:
            await rounds.cancel(round)
        else:
            await rounds.settle(round, payouts={one: number % 60})

    await asyncio.gather(*map(play, range(200)))
    await world.check_nothing_is_held_and_all_adds_up()
    assert await world.house() != 0


# -- players who go


async def test_a_round_of_a_player_who_is_gone_ends_without_them(
    rounds: RoundService, world: World, database: Database, ann: str, bob: str
) -> None:
    round, settled = await opened(rounds, ann, bob), await rounds.settle(await opened(rounds, ann, bob))
    async with database.transaction() as tx:
        await rounds.forget(tx, ann)
        await world.ledger.forget(tx, ann)
        await tx.execute("DELETE FROM users WHERE id = $1", ann)
    assert (await rounds.list(ann)).rounds == ()
    assert await rounds.get(settled.id) == settled
    with pytest.raises((AccountNotFound, AccountClosed)):
        await rounds.settle(round, payouts={ann: 100, bob: 100})
    await rounds.settle(round, payouts={bob: 200})
    assert await world.available(bob) == [COINS]
    assert {one.id for one in (await rounds.list(bob)).rounds} == {settled.id, round.id}
