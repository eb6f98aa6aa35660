"""What becomes of rounds that nobody ends: their policy decides, whatever happened to the process that opened them."""

from __future__ import annotations

import asyncio

import pytest

from palestra.core.errors import GameError, Unavailable
from palestra.core.ids import new_id
from palestra.features.ledger.contract import Entry, LineKind, Post, Void
from palestra.features.rounds.contract import GRACE_SECONDS, Round, RoundOver, Settlement
from palestra.features.rounds.service import RoundService
from palestra.features.rounds.store import Ended, RoundStore
from tests.features.rounds.conftest import COINS, Games, World


def half_back(round: Round) -> Settlement:
    return Settlement({stake.player_id: stake.amount // 2 for stake in round.stakes}, {"by": "deadline"})


async def test_a_round_is_left_alone_until_its_deadline(rounds: RoundService, world: World, ann: str) -> None:
    round = await rounds.open(game="dice", stakes={ann: 100}, deadline_seconds=60)
    world.clock.advance(59)
    assert await rounds.resolve_overdue() == 0
    world.clock.advance(1)
    assert await rounds.resolve_overdue() == 1
    ended = await rounds.get(round.id)
    assert ended.ending is not None
    assert (ended.ending.how, ended.ending.reason) == ("cancelled", "nobody ended it before its deadline")
    assert await world.available(ann) == [COINS]
    assert await rounds.resolve_overdue() == 0
    await world.check_nothing_is_held_and_all_adds_up()


async def test_the_game_settles_what_nobody_ended(rounds: RoundService, games: Games, world: World, ann: str) -> None:
    games.answer = half_back
    round = await rounds.open(game="dice", stakes={ann: 100}, policy="settle", inputs={"above": 50})
    world.clock.advance(300)
    assert await rounds.resolve_overdue() == 1
    ended = await rounds.get(round.id)
    assert ended.ending is not None
    assert (ended.ending.how, ended.ending.payouts, ended.ending.result) == (
        "settled",
        {ann: 50},
        {"by": "deadline"},
    )
    await world.check_nothing_is_held_and_all_adds_up()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: (_ for _ in ()).throw(GameError("the dice are lost")), "the dice are lost"),
        (lambda _: Settlement({new_id(): 5}), "takes no part"),
        (lambda round: Settlement({round.players[0]: -5}), "whole number"),
        (None, "no such function"),
    ],
    ids=["refuses", "pays a stranger", "pays nonsense", "is not there any more"],
)
async def test_what_the_game_cannot_settle_is_cancelled(
    rounds: RoundService, games: Games, world: World, ann: str, answer: object, reason: str
) -> None:
    games.answer = half_back
    round = await rounds.open(game="dice", stakes={ann: 100}, policy="settle")
    games.answer = answer  # type: ignore[assignment]
    world.clock.advance(300)
    assert await rounds.resolve_overdue() == 1
    ended = await rounds.get(round.id)
    assert ended.ending is not None
    assert ended.ending.how == "cancelled" and reason in ended.ending.reason
    assert await world.available(ann) == [COINS]


async def test_a_game_that_cannot_decide_just_now_is_asked_again(
    rounds: RoundService, games: Games, world: World, ann: str, bob: str
) -> None:
    def away(_: Round) -> Settlement:
        raise Unavailable

    games.answer = half_back
    stuck = await rounds.open(game="dice", stakes={ann: 100}, policy="settle", deadline_seconds=10)
    other = await rounds.open(game="dice", stakes={bob: 100}, deadline_seconds=20)
    games.answer = away
    world.clock.advance(300)
    # The one that is stuck is first in line and does not hold up the other.
    assert await rounds.resolve_overdue(limit=1) == 1
    assert (await rounds.get(stuck.id)).ending is None
    assert (await rounds.get(other.id)).ending is not None
    games.answer = half_back
    assert await rounds.resolve_overdue() == 1
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_limited_number_is_resolved_longest_overdue_first(rounds: RoundService, world: World, ann: str) -> None:
    made = [await rounds.open(game="dice", stakes={ann: 1}, deadline_seconds=90 - n) for n in range(5)]
    world.clock.advance(300)
    assert await rounds.resolve_overdue(limit=3) == 3
    assert [(await rounds.get(one.id)).ending is not None for one in made] == [False, False, True, True, True]


@pytest.mark.parametrize("policy", ["cancel", "settle"])
async def test_a_crash_between_hold_and_end_loses_nothing(
    rounds: RoundService, after_a_crash: RoundService, games: Games, world: World, ann: str, policy: str
) -> None:
    games.answer = half_back
    round = await rounds.open(game="dice", stakes={ann: 100}, policy=policy)  # type: ignore[arg-type]
    free = await rounds.open(game="dice", stakes={ann: 0}, policy=policy)  # type: ignore[arg-type]
    world.clock.advance(300)
    assert await after_a_crash.resolve_overdue() == 2
    ended = await after_a_crash.get(round.id)
    assert ended.ending is not None and (await after_a_crash.get(free.id)).ending is not None
    assert ended.ending.how == {"cancel": "cancelled", "settle": "settled"}[policy]
    await world.check_nothing_is_held_and_all_adds_up()


async def test_several_nodes_may_sweep_at_once(
    rounds: RoundService, after_a_crash: RoundService, games: Games, world: World, ann: str
) -> None:
    games.answer = half_back
    for number in range(30):
        await rounds.open(game="dice", stakes={ann: 5}, policy="settle" if number % 2 else "cancel")
    world.clock.advance(300)
    await asyncio.gather(*[node.resolve_overdue() for node in (rounds, after_a_crash) for _ in range(2)])
    assert {one.ending is not None for one in (await rounds.list(ann)).rounds} == {True}
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_round_can_still_be_settled_after_its_deadline(rounds: RoundService, world: World, ann: str) -> None:
    round = await rounds.open(game="dice", stakes={ann: 100})
    world.clock.advance(300 + GRACE_SECONDS - 1)
    await rounds.settle(round, payouts={ann: 7})
    assert await world.available(ann) == [COINS - 93]


@pytest.mark.parametrize("swept", [False, True], ids=["not yet given back", "given back"])
async def test_holds_that_expired_first_cancel_the_round(
    rounds: RoundService, world: World, ann: str, bob: str, swept: bool
) -> None:
    round = await rounds.open(game="dice", stakes={ann: 100, bob: 50})
    world.clock.advance(300 + GRACE_SECONDS)
    if swept:
        assert await world.ledger.end_overdue_holds() == 2
    with pytest.raises(RoundOver, match="cancelled at") as refusal:
        await rounds.settle(round, payouts={ann: 150})
    ending = refusal.value.round.ending
    assert ending is not None and ending.reason == "a hold of it was over already"
    assert (await rounds.get(round.id)).ending == ending
    assert await rounds.cancel(round) == refusal.value.round
    await world.ledger.end_overdue_holds()
    assert await world.available(ann, bob) == [COINS, COINS]
    await world.check_nothing_is_held_and_all_adds_up()


@pytest.mark.parametrize("step", [Void, Post])
@pytest.mark.parametrize("end", ["settle", "cancel", "sweep"])
async def test_a_hold_that_somebody_ended_does_not_lock_the_others(
    rounds: RoundService, world: World, ann: str, bob: str, step: type[Void] | type[Post], end: str
) -> None:
    round = await rounds.open(game="dice", stakes={ann: 100, bob: 50})
    by_player = dict(zip(round.players, round.holds or (), strict=True))
    await world.ledger.submit(Entry(None, (step(by_player[ann]),)))
    if end == "settle":
        with pytest.raises(RoundOver, match="cancelled at"):
            await rounds.settle(round, payouts={ann: 150})
    elif end == "cancel":
        await rounds.cancel(round)
    else:
        world.clock.advance(300)
        assert await rounds.resolve_overdue() == 1
    record = await rounds.record(round.id)
    assert record.round.ending is not None
    assert (record.round.ending.how, record.round.ending.reason) == ("cancelled", "a hold of it was over already")
    assert [(line.step, line.hold) for line in record.lines[2:]] == [(LineKind.VOID, by_player[bob])]
    assert await world.available(ann, bob) == [COINS if step is Void else COINS - 100, COINS]
    await world.check_nothing_is_held_and_all_adds_up()


async def test_a_crash_amid_giving_back_leaves_a_round_that_the_sweep_ends(
    rounds: RoundService,
    after_a_crash: RoundService,
    world: World,
    ann: str,
    bob: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    round = await rounds.open(game="dice", stakes={ann: 100, bob: 50})
    by_player = dict(zip(round.players, round.holds or (), strict=True))
    await world.ledger.submit(Entry(None, (Void(by_player[ann]),)))

    async def die(_: Ended) -> None:
        raise Unavailable

    monkeypatch.setattr(RoundStore, "end_alone", lambda _, row: die(row))
    with pytest.raises(Unavailable):
        await rounds.cancel(round)
    monkeypatch.undo()
    assert await world.available(ann, bob) == [COINS, COINS]
    assert (await after_a_crash.get(round.id)).ending is None
    world.clock.advance(300)
    assert await after_a_crash.resolve_overdue() == 1
    record = await after_a_crash.record(round.id)
    assert record.round.ending is not None and record.round.ending.reason == "a hold of it was over already"
    assert [line.step for line in record.lines] == [LineKind.HOLD, LineKind.HOLD, LineKind.VOID]
    await world.check_nothing_is_held_and_all_adds_up()


async def test_the_sweep_closes_rounds_whose_holds_expired(rounds: RoundService, world: World, ann: str) -> None:
    round = await rounds.open(game="dice", stakes={ann: 100})
    world.clock.advance(300 + GRACE_SECONDS)
    await world.ledger.end_overdue_holds()
    assert await rounds.resolve_overdue() == 1
    record = await rounds.record(round.id)
    assert record.round.ending is not None and record.round.ending.how == "cancelled"
    assert [line.step for line in record.lines] == [LineKind.HOLD]
    await world.check_nothing_is_held_and_all_adds_up()
