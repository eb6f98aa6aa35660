"""When the answer does not come in time, the server is busy, or something is broken."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest

from palestra.testing import Platform
from tests.features.providers.conftest import made_game
from tests.features.providers.provider import SETTINGS, Provider, Refused, fresh

HASTY = msgspec.structs.replace(
    SETTINGS, providers={"acme": msgspec.structs.replace(SETTINGS.providers["acme"], deadline_seconds=0.4)}
)


async def refused(attempt: Any) -> Refused:
    with pytest.raises(Refused) as told:
        await attempt
    return told.value


async def test_what_is_not_answered_in_time_is_unknown_and_is_repeated_safely(database_url: str) -> None:
    async with Platform.start(made_game(), settings=HASTY, database_url=database_url) as platform:
        acme, ann = Provider(platform), await platform.bot()
        await ann.rpc("gift", {"amount": 100})
        session, taken, paid, undone = await acme.begin(ann), fresh(), fresh(), fresh()
        requests = {
            "debit": lambda: acme.debit(ann, session, 30, transaction_id=taken),
            "credit": lambda: acme.credit(ann, 5, transaction_id=paid),
            "rollback": lambda: acme.rollback(ann, undone),
        }
        await acme.debit(ann, session, 1)
        blocker = await asyncpg.connect(database_url)
        try:
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE ledger_balances, ledger_keys IN ACCESS EXCLUSIVE MODE")
                for told in await asyncio.gather(*[refused(request()) for request in requests.values()]):
                    assert (told.status, told.word, told.headers["Retry-After"]) == (503, "unknown_retry", "1")
        finally:
            await blocker.close()
        first = [await request() for request in requests.values()]
        assert first == [await request() for request in requests.values()]
        assert first[2]["outcome"] == "remembered"
        assert await acme.balance(ann) == 99 - 30 + 5


async def test_a_busy_server_says_so_and_did_nothing(database_url: str) -> None:
    busy = msgspec.structs.replace(SETTINGS, socket=msgspec.structs.replace(SETTINGS.socket, requests_in_flight_max=1))
    async with Platform.start(made_game(), settings=busy, database_url=database_url) as platform:
        acme, ann = Provider(platform), await platform.bot()
        dispatcher = platform.node.parts.dispatcher  # type: ignore[union-attr]
        dispatcher.in_flight = 1
        told = await refused(acme.credit(ann, 5))
        dispatcher.in_flight = 0
        assert (told.status, told.word, told.headers["Retry-After"]) == (429, "overloaded", "1")
        assert await acme.balance(ann) == 0


async def test_a_bug_is_internal_and_its_words_stay_here(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Platform.start(made_game(), settings=SETTINGS, database_url=database_url) as platform:
        acme, ann = Provider(platform), await platform.bot()

        async def broken(*_: Any) -> None:
            raise RuntimeError("secret words")

        monkeypatch.setattr(platform.node.parts.services.money.ledger, "submit", broken)  # type: ignore[union-attr]
        told = await refused(acme.credit(ann, 5))
        assert (told.status, told.word, told.message) == (500, "internal", "Internal error.")


async def test_a_database_that_is_away_is_unavailable(database_url: str) -> None:
    async with Platform.start(made_game(), settings=SETTINGS, database_url=database_url) as platform:
        acme, ann = Provider(platform), await platform.bot()
        await acme.credit(ann, 5)
        name = database_url.split("/")[-1].split("?")[0]
        admin = await asyncpg.connect(database_url.replace(f"/{name}?", "/postgres?"))
        try:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            paid = fresh()
            told = await refused(acme.credit(ann, 7, transaction_id=paid))
            assert told.status == 503 and told.word in ("unavailable", "unknown_retry")
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        finally:
            await admin.close()
        async with asyncio.timeout(10):
            while True:
                try:
                    answer = await acme.credit(ann, 7, transaction_id=paid)
                    break
                except Refused as again:
                    assert again.status == 503
        assert answer["balance"] == "12"
