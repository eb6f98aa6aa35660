"""An honest provider: stakes, payouts, repeats and rollbacks over the wire."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import pytest

from palestra.testing import Platform
from tests.features.providers.conftest import NewPlayer
from tests.features.providers.provider import ASSET, OTHER_SECRET, Provider, Refused, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_round_is_staked_and_paid(acme: Provider, player: NewPlayer, platform: Platform) -> None:
    ann = await player(100)
    who = await acme.call("authenticate", token=ann.token)
    assert who["player_id"] == ann.id and who["display_name"] == ann.username
    assert who["balances"] == {ASSET: "100", "gems": "100", "undeclared": "0"}
    stake = await acme.debit(ann, who["session"], 30)
    win = await acme.credit(ann, "50")
    assert (stake["balance"], win["balance"]) == ("70", "120")
    assert await acme.balance(ann) == 120
    page = await platform.node.parts.services.money.wallets.history(ann.id)  # type: ignore[union-attr]
    kinds = [(entry.kind, entry.reference, entry.changeset) for entry in page.entries]
    assert kinds[:2] == [("provider.credit", "r", {ASSET: 50}), ("provider.debit", "r", {ASSET: -30})]


async def test_a_repeated_request_gets_the_same_answer_and_moves_nothing(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    session = await acme.begin(ann)
    body = json.dumps(
        {
            "request_id": fresh("q"),
            "transaction_id": fresh(),
            "round_id": "r",
            "player_id": ann.id,
            "session": session,
            "asset": ASSET,
            "amount": 30,
        }
    ).encode()
    first = await acme.send("debit", body)
    await acme.credit(ann, 5)
    assert [await acme.send("debit", body, age=age) for age in (0, 7)] == [first, first]
    # Another request for the same transaction is a repeat as well.
    other = body.replace(b'"q-', b'"again-')
    answers = await asyncio.gather(*[acme.send("debit", text) for text in (body, other, body, other)])
    assert set(answers) == {first}
    assert await acme.balance(ann) == 75


async def test_equal_transactions_at_once_are_one(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    session, stake, win = await acme.begin(ann), fresh(), fresh()
    stakes = [acme.debit(ann, session, 60, transaction_id=stake) for _ in range(8)]
    wins = [acme.credit(ann, 7, transaction_id=win) for _ in range(8)]
    answers = await asyncio.gather(*stakes, *wins)
    assert len({answer["ledger_id"] for answer in answers}) == 2
    assert await acme.balance(ann) == 47


async def test_a_transaction_id_with_other_content_is_a_conflict(acme: Provider, player: NewPlayer) -> None:
    ann, bob = await player(100), await player(100)
    session, used = await acme.begin(ann), fresh()
    await acme.debit(ann, session, 30, transaction_id=used)
    for attempt in (
        acme.debit(ann, session, 31, transaction_id=used),
        acme.debit(ann, session, 30, transaction_id=used, round_id="r2"),
        acme.debit(ann, session, 30, transaction_id=used, asset="gems"),
        acme.debit(bob, await acme.begin(bob), 30, transaction_id=used),
        acme.credit(ann, 30, transaction_id=used),
    ):
        with pytest.raises(Refused) as refused:
            await attempt
        assert (refused.value.status, refused.value.word) == (409, "transaction_conflict")
    assert (await acme.balance(ann), await acme.balance(bob), await acme.balance(ann, "gems")) == (70, 100, 100)


async def test_providers_do_not_share_transaction_ids(acme: Provider, player: NewPlayer, platform: Platform) -> None:
    ann = await player(100)
    other = Provider(platform, "other", "k1", OTHER_SECRET)
    used = fresh()
    await acme.debit(ann, await acme.begin(ann), 30, transaction_id=used)
    await other.debit(ann, await other.begin(ann), 20, transaction_id=used)
    assert await acme.balance(ann) == 50


async def test_a_rollback_gives_the_stake_back_once(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    session, stake = await acme.begin(ann), fresh()
    taken = await acme.debit(ann, session, 30, transaction_id=stake)
    back = await acme.rollback(ann, stake)
    assert (back["outcome"], back["amount"], back["balance"]) == ("rolled_back", "30", "100")
    assert await asyncio.gather(*[acme.rollback(ann, stake) for _ in range(6)]) == [back] * 6
    assert await acme.balance(ann) == 100
    # The stake did happen, and says so when it is asked for again; it is not taken a second time.
    assert await acme.debit(ann, session, 30, transaction_id=stake) == taken
    assert await acme.balance(ann) == 100


async def test_a_rollback_before_its_stake_refuses_the_late_stake(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    session, late = await acme.begin(ann), fresh()
    for _ in range(2):
        assert await acme.rollback(ann, late) == {"transaction_id": late, "outcome": "remembered"}
    with pytest.raises(Refused) as refused:
        await acme.debit(ann, session, 30, transaction_id=late)
    assert (refused.value.status, refused.value.word) == (409, "rolled_back")
    assert await acme.balance(ann) == 100


async def test_a_rollback_before_its_stake_refuses_no_payout(acme: Provider, player: NewPlayer) -> None:
    ann, bob = await player(100), await player(100)
    session, late = await acme.begin(ann), fresh()
    forbidden = await acme.rollback(bob, late)
    paid = await acme.credit(ann, 30, transaction_id=late)
    assert paid["balance"] == "130"
    assert await asyncio.gather(*[acme.credit(ann, 30, transaction_id=late) for _ in range(4)]) == [paid] * 4
    assert await acme.rollback(ann, late) == forbidden
    for attempt, word in (
        (acme.credit(ann, 31, transaction_id=late), "transaction_conflict"),
        (acme.debit(ann, session, 30, transaction_id=late), "rolled_back"),
    ):
        with pytest.raises(Refused) as refused:
            await attempt
        assert (refused.value.status, refused.value.word) == (409, word)
    assert await acme.balance(ann) == 130
    await ann.call("DELETE", "/v2/account")
    assert await acme.credit(ann, 30, transaction_id=late) == paid


async def test_a_stake_and_its_rollback_at_once_leave_nothing_taken(acme: Provider, player: NewPlayer) -> None:
    ann = await player(1000)
    session = await acme.begin(ann)
    for _ in range(25):
        stake = fresh()
        race = [acme.debit(ann, session, 30, transaction_id=stake), acme.rollback(ann, stake)]
        taken, back = await asyncio.gather(*race, return_exceptions=True)
        assert not isinstance(back, BaseException)
        if isinstance(taken, Refused):
            assert (taken.word, back["outcome"]) == ("rolled_back", "remembered")
        else:
            assert not isinstance(taken, BaseException) and back["outcome"] == "rolled_back"
        assert await acme.balance(ann) == 1000


async def test_what_was_begun_is_settled_after_the_session_ended(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    session, paid, undone = await acme.begin(ann), fresh(), fresh()
    first = await acme.debit(ann, session, 30, transaction_id=paid)
    await acme.debit(ann, session, 20, transaction_id=undone)
    await ann.call("POST", "/v2/session/logout", {"token": ann.token, "refresh_token": ann.refresh_token})
    with pytest.raises(Refused) as refused:
        await acme.debit(ann, session, 1)
    assert (refused.value.status, refused.value.word) == (403, "session_ended")
    # A stake whose answer was lost is told as it was, though no new one is taken.
    assert await acme.debit(ann, session, 30, transaction_id=paid) == first
    assert (await acme.credit(ann, 45))["balance"] == "95"
    assert (await acme.rollback(ann, undone))["balance"] == "115"


async def test_a_provider_that_is_off_settles_but_plays_no_more(player: NewPlayer, platform: Platform) -> None:
    off, ann = Provider(platform, "off", "k1", "w" * 32), await player(10)
    for attempt in (off.begin(ann), off.debit(ann, "any", 1)):
        with pytest.raises(Refused) as refused:
            await attempt
        assert (refused.value.status, refused.value.word) == (403, "provider_disabled")
    assert (await off.credit(ann, 5))["balance"] == "15"
    assert (await off.rollback(ann, fresh()))["outcome"] == "remembered"


async def test_only_what_is_there_can_be_staked(acme: Provider, player: NewPlayer) -> None:
    ann, stake = await player(100), fresh()
    session = await acme.begin(ann)
    with pytest.raises(Refused) as refused:
        await acme.debit(ann, session, 101, transaction_id=stake)
    assert (refused.value.status, refused.value.word) == (400, "insufficient_funds")
    # A refusal does not use the id up.
    assert (await acme.debit(ann, session, 100, transaction_id=stake))["balance"] == "0"


async def test_a_stake_of_an_asset_that_the_player_never_had_is_more_than_there_is(
    acme: Provider, player: NewPlayer
) -> None:
    ann = await player(0)
    session = await acme.begin(ann)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await acme.debit(ann, session, 1, asset="gems")
        assert (refused.value.status, refused.value.word) == (400, "insufficient_funds")
    assert await acme.balance(ann, "gems") == 0


async def test_a_repeated_stake_is_answered_as_it_was_though_nothing_is_left(acme: Provider, player: NewPlayer) -> None:
    ann, stake = await player(100), fresh()
    session = await acme.begin(ann)
    first = await acme.debit(ann, session, 60, transaction_id=stake)
    await acme.debit(ann, session, 40)
    assert await asyncio.gather(*[acme.debit(ann, session, 60, transaction_id=stake) for _ in range(4)]) == [first] * 4
    assert await acme.balance(ann) == 0


async def test_transactions_are_listed_by_time_page_by_page(player: NewPlayer, platform: Platform) -> None:
    other, ann = Provider(platform, "other", "k1", OTHER_SECRET), await player(100)
    session = await other.begin(ann)
    stakes = [fresh() for _ in range(3)]
    for stake in stakes:
        last = await other.debit(ann, session, 3, transaction_id=stake, round_id="listed")
    await other.rollback(ann, stakes[1], round_id="listed")
    await other.credit(ann, 9, transaction_id="won", round_id="listed")
    now = int(datetime.fromisoformat(last["at"]).timestamp())
    listed, cursor, pages = [], "", 0
    while cursor or not pages:
        page = await other.call("list", asset=ASSET, since=now - 3600, until=now + 60, limit=2, cursor=cursor)
        listed += [one for one in page["transactions"] if one["round_id"] == "listed"]
        cursor, pages = page["cursor"], pages + 1
    assert [(one["kind"], one["transaction_id"], one["amount"]) for one in listed] == [
        *[("debit", stake, "3") for stake in stakes],
        ("rollback", stakes[1], "3"),
        ("credit", "won", "9"),
    ]
    assert {(one["player_id"], one["asset"]) for one in listed} == {(ann.id, ASSET)}
    assert listed[2]["ledger_id"] == last["ledger_id"] and listed[2]["at"] == last["at"]
    assert (await other.call("list", asset=ASSET, since=0, until=60))["transactions"] == []


async def test_a_prize_needs_no_stake_before_it(acme: Provider, player: NewPlayer) -> None:
    ann = await player(0)
    assert (await acme.credit(ann, 5))["balance"] == "5"
