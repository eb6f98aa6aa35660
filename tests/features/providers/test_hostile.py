"""A hostile provider, and everybody who is none: each wrong gets its word, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from palestra.testing import Bot, BotError, Platform
from tests.features.providers.conftest import NewPlayer
from tests.features.providers.provider import ASSET, OTHER_SECRET, SECOND_SECRET, SETTINGS, Provider, Refused, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Books:
    """What is written down about money."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def rows(self) -> list[int]:
        """How many rows each of the ledger's tables has, and the sum of all balances."""
        tables = ("ledger_lines", "ledger_keys", "ledger_accounts", "ledger_balances")
        counts = [await self._connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
        return [*counts, await self._connection.fetchval("SELECT sum(abs(balance)) FROM ledger_balances")]


@pytest_asyncio.fixture(loop_scope="module")
async def books(module_database_url: str) -> AsyncIterator[Books]:
    connection = await asyncpg.connect(module_database_url)
    yield Books(connection)
    await connection.close()


async def refused(attempt: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as told:
        await attempt
    return told.value.status, told.value.word


def stake(bot: Bot, session: str, **changed: Any) -> dict[str, Any]:
    return {
        "request_id": fresh("q"),
        "transaction_id": fresh(),
        "round_id": "r",
        "player_id": bot.id,
        "session": session,
        "asset": ASSET,
        "amount": 5,
        **changed,
    }


async def test_who_cannot_sign_gets_nothing_from_any_operation(
    acme: Provider, player: NewPlayer, books: Books, platform: Platform
) -> None:
    ann = await player(100)
    session = await acme.begin(ann)
    before = await books.rows()
    stranger = Provider(platform, "acme", "k1", "z" * 32)
    swapped = Provider(platform, "other", "k1", OTHER_SECRET)
    swapped.name = "acme"
    for provider in (stranger, swapped, Provider(platform, "acme", "k2"), Provider(platform, "nobody")):
        for action in ("authenticate", "balance", "debit", "credit", "rollback", "list"):
            assert await refused(provider.call(action, **stake(ann, session))) == (401, "wrong_signature")
    # A bad body of a stranger is not even looked at.
    assert await refused(stranger.send("debit", b"{")) == (401, "wrong_signature")
    assert await refused(acme.send("debit", b"{}", headers={"X-Palestra-Signature": ""})) == (401, "wrong_signature")
    assert await refused(acme.send("debit", b"{}", age=301)) == (401, "stale_timestamp")
    assert await refused(acme.send("debit", b"{}", age=-301)) == (401, "stale_timestamp")
    assert await refused(Provider(platform, "far", "k1", "v" * 32).send("debit", b"{}")) == (403, "forbidden_address")
    assert await books.rows() == before
    assert await Provider(platform, "acme", "k2", SECOND_SECRET).balance(ann) == 100


async def test_a_player_cannot_play_the_provider(player: NewPlayer, books: Books) -> None:
    ann = await player(100)
    before = await books.rows()
    with pytest.raises(BotError) as told:
        await ann.call("POST", "/v2/palestra/provider/credit", stake(ann, ""))
    assert told.value.status == 401
    assert await books.rows() == before


async def test_a_signed_request_sent_again_moves_money_once(acme: Provider, player: NewPlayer, books: Books) -> None:
    ann = await player(100)
    body = json.dumps(stake(ann, await acme.begin(ann), amount=40)).encode()
    answer = await acme.send("debit", body, age=200)
    before = await books.rows()
    for _ in range(3):
        assert await acme.send("debit", body, age=200) == answer
    # The same signature on another path is none.
    assert await refused(acme.send("credit", body, headers={"X-Palestra-Signature": "0" * 64})) == (
        401,
        "wrong_signature",
    )
    assert await books.rows() == before


async def test_a_refused_request_sent_again_stays_refused_and_signed_anew_is_decided_anew(
    acme: Provider, player: NewPlayer, books: Books
) -> None:
    ann = await player(0)
    session, taken = await acme.begin(ann), fresh()
    body = json.dumps(stake(ann, session, transaction_id=taken, amount=40)).encode()
    recorded = acme.signed("debit", body)
    for _ in range(2):
        assert await refused(acme.send("debit", body, headers=recorded)) == (400, "insufficient_funds")
    await ann.rpc("gift", {"amount": 100})
    before = await books.rows()
    shouted = {**recorded, "X-Palestra-Signature": recorded["X-Palestra-Signature"].upper()}
    for headers in (recorded, shouted):
        assert await refused(acme.send("debit", body, headers=headers)) == (400, "insufficient_funds")
    assert await books.rows() == before
    assert json.loads(await acme.send("debit", body, age=-5))["balance"] == "60"
    assert await refused(acme.send("debit", body, headers=recorded)) == (400, "insufficient_funds")
    assert await acme.balance(ann) == 60


AMOUNTS = [
    -1, 0, 1.5, 5.0, 1e30, 2**63, 2**64, 10**300, "", "0", "-5", "5.0", "05", "5e1", "9" * 30, " 5", "0x5", True, [5],
    {"amount": 5},
]  # fmt: skip


async def test_amounts_that_are_none_are_refused(acme: Provider, player: NewPlayer, books: Books) -> None:
    ann = await player(100)
    session = await acme.begin(ann)
    # The provider's own account exists from here on.
    await acme.debit(ann, session, 1)
    before = await books.rows()
    for amount in AMOUNTS:
        for action in ("debit", "credit"):
            fields = stake(ann, session, amount=amount)
            if action == "credit":
                del fields["session"]
            assert await refused(acme.call(action, **fields)) == (400, "bad_amount"), amount
    assert await books.rows() == before


BROKEN = [
    b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"{}", b'{"request_id":5}', b"[" * 50_000,
    b'{"request_id":"q"}{"request_id":"q"}', b'{"amount":' + b"[" * 50_000,
]  # fmt: skip


async def test_bodies_that_are_no_request_are_refused(acme: Provider, player: NewPlayer, books: Books) -> None:
    ann = await player(100)
    good = stake(ann, await acme.begin(ann))
    changed = [
        {**good, "more": 1},
        {key: value for key, value in good.items() if key != "round_id"},
        {**good, "round_id": None},
        {**good, "transaction_id": 5},
        {**good, "transaction_id": ""},
        {**good, "transaction_id": "a b"},
        {**good, "transaction_id": "a\n"},
        {**good, "transaction_id": "é"},
        {**good, "transaction_id": "a" * 129},
        {**good, "request_id": "\x00"},
        {**good, "round_id": "a" * 100_000},
        {**good, "asset": ""},
        {**good, "session": ""},
        {**good, "player_id": "p" * 65},
    ]
    before = await books.rows()
    for body in [*BROKEN, *[json.dumps(one).encode() for one in changed]]:
        assert await refused(acme.send("debit", body)) == (400, "bad_request"), body[:100]
    assert await refused(acme.send("debit", b" " * 300_000)) == (400, "bad_request")
    assert await books.rows() == before


async def test_assets_and_players_that_are_none_are_refused(acme: Provider, player: NewPlayer, books: Books) -> None:
    ann = await player(100)
    session = await acme.begin(ann)
    nobody = "00000000-0000-4000-8000-000000000001"
    await acme.debit(ann, session, 1)
    before = await books.rows()
    for asset in ("USD", "COINS", "undeclared", "co\u0000ins"):
        assert await refused(acme.debit(ann, session, 5, asset=asset)) == (404, "unknown_asset")
        assert await refused(acme.credit(ann, 5, asset=asset)) == (404, "unknown_asset")
    for asset in ("USD", "COINS"):
        assert await refused(acme.rollback(ann, fresh(), asset=asset)) == (404, "unknown_asset")
        assert await refused(acme.call("balance", player_id=ann.id, asset=asset)) == (404, "unknown_asset")
        assert await refused(acme.call("list", asset=asset, since=0, until=5)) == (404, "unknown_asset")
    for stranger in (nobody, "nobody", ""):
        assert await refused(acme.credit(ann, 5, player_id=stranger)) == (404, "unknown_player")
        assert await refused(acme.call("balance", player_id=stranger, asset=ASSET)) == (404, "unknown_player")
        assert await refused(acme.rollback(ann, fresh(), player_id=stranger)) == (404, "unknown_player")
    # Among those rows are what rollbacks remember.
    assert await books.rows() == before


async def test_nobody_stakes_or_takes_back_what_is_anothers(
    acme: Provider, player: NewPlayer, books: Books, platform: Platform
) -> None:
    ann, bob, other = await player(100), await player(100), Provider(platform, "other", "k1", OTHER_SECRET)
    session, foreign = await acme.begin(ann), await other.begin(ann)
    taken, paid = fresh(), fresh()
    await acme.debit(ann, session, 30, transaction_id=taken)
    await acme.credit(ann, 5, transaction_id=paid)
    before = await books.rows()
    assert await refused(acme.debit(bob, session, 5)) == (403, "wrong_owner")
    for wrong in (foreign, ann.token, session + "x", "x", ann.refresh_token):
        assert await refused(acme.debit(ann, wrong, 5)) == (403, "session_ended")
    assert await refused(acme.rollback(bob, taken)) == (403, "wrong_owner")
    assert await refused(acme.rollback(ann, taken, asset="gems")) == (403, "wrong_owner")
    assert await refused(acme.rollback(ann, taken, round_id="r2")) == (403, "wrong_owner")
    assert await refused(acme.rollback(ann, taken, player_id=taken)) == (404, "unknown_player")
    assert await refused(acme.rollback(ann, paid)) == (400, "not_a_debit")
    for wrong in (foreign, session, "x", ann.refresh_token):
        assert await refused(acme.call("authenticate", token=wrong)) == (403, "session_ended")
    assert await books.rows() == before
    # What a provider holds opens nothing else.
    with pytest.raises(BotError) as told:
        await ann.call("GET", "/v2/account", authorization=f"Bearer {session}")
    assert told.value.status == 401


async def test_windows_and_cursors_that_are_none_are_refused(acme: Provider) -> None:
    for since, until, cursor in ((5, 5, ""), (5, 4, ""), (0, 86_401, ""), (0, 5, "x"), (0, 5, "9" * 19)):
        asked = acme.call("list", asset=ASSET, since=since, until=until, cursor=cursor)
        assert await refused(asked) == (400, "bad_request")
    for limit in (0, -1, 1001, 1.5):
        assert await refused(acme.call("list", asset=ASSET, since=0, until=5, limit=limit)) == (400, "bad_request")


async def test_money_of_a_player_who_is_gone_stays_where_it_is(acme: Provider, player: NewPlayer, books: Books) -> None:
    ann, bob, taken = await player(100), await player(100), fresh()
    session = await acme.begin(ann)
    await acme.debit(ann, session, 30, transaction_id=taken)
    await ann.call("DELETE", "/v2/account")
    before = await books.rows()
    assert await refused(acme.debit(ann, session, 5)) == (403, "session_ended")
    assert await refused(acme.credit(ann, 5)) == (404, "unknown_player")
    assert await refused(acme.rollback(ann, taken)) == (404, "unknown_player")
    assert await refused(acme.rollback(bob, taken)) == (403, "wrong_owner")
    assert await refused(acme.call("authenticate", token=ann.token)) == (403, "session_ended")
    assert await books.rows() == before


async def test_what_was_carried_out_is_told_as_it_was_though_the_player_is_gone(
    acme: Provider, player: NewPlayer, books: Books
) -> None:
    ann, (taken, undone, paid, late) = await player(100), [fresh() for _ in range(4)]
    session = await acme.begin(ann)

    async def answers() -> list[dict[str, Any]]:
        return [
            await acme.debit(ann, session, 30, transaction_id=taken),
            await acme.debit(ann, session, 20, transaction_id=undone),
            await acme.credit(ann, 5, transaction_id=paid),
            await acme.rollback(ann, undone),
            await acme.rollback(ann, late),
        ]

    first = await answers()
    await ann.call("DELETE", "/v2/account")
    before = await books.rows()
    assert await answers() == first
    # Anything else under those ids is refused as it would be without them.
    assert await refused(acme.debit(ann, session, 31, transaction_id=taken)) == (403, "session_ended")
    for changed in ({"amount": 6}, {"round_id": "r2"}, {"asset": "gems"}, {"transaction_id": taken}):
        fields: dict[str, Any] = {"amount": 5, "transaction_id": paid, **changed}
        assert await refused(acme.credit(ann, **fields)) == (404, "unknown_player")
    assert await refused(acme.rollback(ann, undone, round_id="r2")) == (404, "unknown_player")
    assert await refused(acme.rollback(ann, taken)) == (404, "unknown_player")
    assert await books.rows() == before


async def test_what_was_carried_out_is_told_as_it_was_though_asset_and_provider_are_no_more(
    acme: Provider, player: NewPlayer, books: Books, platform: Platform
) -> None:
    assert platform.node.parts is not None
    providers = platform.node.parts.services.money.providers
    ann, bob, (taken, undone, paid) = await player(100), await player(100), [fresh() for _ in range(3)]
    session = await acme.begin(ann)

    async def answers() -> list[dict[str, Any]]:
        return [
            await acme.debit(ann, session, 30, transaction_id=taken),
            await acme.debit(ann, session, 20, transaction_id=undone),
            await acme.credit(ann, 5, transaction_id=paid),
            await acme.rollback(ann, undone),
        ]

    first = await answers()
    before = await books.rows()
    settings = msgspec.structs.replace(SETTINGS.providers["acme"], assets=("gems",), enabled=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_settings", {"acme": settings})
        assert await answers() == first
        assert await refused(acme.credit(bob, 5, transaction_id=paid)) == (404, "unknown_asset")
        assert await refused(acme.rollback(ann, taken)) == (404, "unknown_asset")
    # A session of another player does not change what happened either.
    assert await acme.debit(ann, await acme.begin(bob), 30, transaction_id=taken) == first[0]
    assert await books.rows() == before


async def test_a_closed_account_is_left_alone(
    acme: Provider, player: NewPlayer, books: Books, platform: Platform
) -> None:
    parts = platform.node.parts
    assert parts is not None
    ann = await player(0)
    await acme.credit(ann, 5)
    taken = fresh()
    session = await acme.begin(ann)
    first = await acme.debit(ann, session, 5, transaction_id=taken)
    (account,) = await parts.services.money.ledger.accounts_of(ann.id)
    await parts.services.money.ledger.close(account.id)
    before = await books.rows()
    assert await refused(acme.debit(ann, session, 5)) == (400, "account_closed")
    assert await refused(acme.credit(ann, 5)) == (400, "account_closed")
    assert await refused(acme.rollback(ann, taken)) == (400, "account_closed")
    assert await acme.debit(ann, session, 5, transaction_id=taken) == first
    assert await books.rows() == before


async def test_a_balance_does_not_leave_64_bits(acme: Provider, player: NewPlayer, books: Books) -> None:
    ann = await player(100)
    before = await books.rows()
    assert await refused(acme.credit(ann, 2**63 - 1)) == (400, "amount_overflow")
    assert await books.rows() == before
