"""What lies in the database: no identifier in the clear, none that can be moved to another row, no other key ring."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from palestra.core.config import DatabaseSettings, Settings
from palestra.core.errors import SetupError
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing
from palestra.features.accounts.key_ring import open_key_ring
from palestra.testing import Platform
from tests.features.accounts.players import player, refusal

SECRETS = ("device-secret-0001", "custom-secret-0001", "ann-secret@example.org", "secret password")
CLAIMS = "SELECT last_value FROM node_epochs"
"""How often a node has taken a name."""


async def everything_in(database: Database) -> bytes:
    """Every row of every table as text, and every bytea as its bytes."""
    found: list[bytes] = []
    columns = await database.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    )
    for table, column, kind in columns:
        shown = f'"{column}"' if kind == "bytea" else f'"{column}"::text'
        for (value,) in await database.fetch(f'SELECT {shown} FROM "{table}" WHERE "{column}" IS NOT NULL'):
            found.append(value if isinstance(value, bytes) else value.encode())
    return b"\n".join(found)


async def test_no_identifier_and_no_password_lies_in_the_database_in_the_clear(platform: Platform) -> None:
    device, custom, address, password = SECRETS
    ann = await player(platform, "device", {"id": device}, username="ann")
    await ann.link("custom", {"id": custom})
    await ann.link("email", {"email": address, "password": password})
    bob = await player(platform, "email", {"email": f"bob-{address}", "password": password})
    await ann.call("POST", "/v2/friend", ids=bob.id)
    await ann.call("POST", "/v2/session/logout", {})
    dump = await everything_in(platform.node.parts.database)
    assert b"ann" in dump
    assert [text for text in SECRETS if text.encode() in dump] == []
    assert b"secret" not in dump


async def test_a_sealed_value_moved_to_another_row_fails_loudly(
    platform: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    ann = await player(platform, "device", {"id": "device-0001"})
    bob = await player(platform, "device", {"id": "device-0002"})
    dan = await player(platform, "device", {"id": "device-0003"})
    await platform.node.parts.database.execute(
        """UPDATE identities i SET sealed = other.sealed FROM identities other
        WHERE i.user_id <> other.user_id AND i.user_id = ANY($1::uuid[]) AND other.user_id = ANY($1::uuid[])""",
        [ann.id, bob.id],
    )
    for moved in (ann, bob):
        assert (await refusal(moved.account()))[:2] == (500, 13)
    # Others, read in the same moment, are none the worse.
    assert (await dan.account())["devices"] == [{"id": "device-0003"}]
    # The blind index still finds them: who may log in does not hang on what can be read.
    assert (await player(platform, "device", {"id": "device-0001"})).id == ann.id


async def test_a_node_with_another_key_ring_does_not_start(database_url: str, tmp_path: Path) -> None:
    def settings(name: str) -> Settings:
        return Settings(database=DatabaseSettings(key_ring_file=str(tmp_path / name)))

    async with Platform.start(database_url=database_url, settings=settings("ours.json")) as platform:
        claims = await platform.node.parts.database.fetchval(CLAIMS)
        with pytest.raises(SetupError, match=r"there is no key ring .*missing.json, and the identifiers"):
            async with Platform.start(database_url=database_url, settings=settings("missing.json")):
                pass
        assert [file.name for file in tmp_path.iterdir()] == ["ours.json"], "no other one is made"  # noqa: ASYNC240
        KeyRing.load_or_create(tmp_path / "other.json")
        with pytest.raises(SetupError, match=r"are sealed with another key ring than .*other.json"):
            async with Platform.start(database_url=database_url, settings=settings("other.json")):
                pass
        assert await platform.node.parts.database.fetchval(CLAIMS) == claims, "neither has joined"
    async with Platform.start(database_url=database_url, settings=settings("ours.json")):
        pass
    for file in tmp_path.iterdir():  # noqa: ASYNC240
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_of_nodes_that_come_to_a_new_database_together_one_makes_the_key_ring(
    database_url: str, tmp_path: Path
) -> None:
    databases = [Database(database_url) for _ in range(4)]
    for database in databases:
        await database.open()
    # Each on a machine of its own, as far as files go.
    files = [tmp_path / str(number) / "keyring.json" for number in range(4)]
    found = await asyncio.gather(*map(open_key_ring, databases, files), return_exceptions=True)
    assert sorted(isinstance(one, SetupError) for one in found) == [False, True, True, True]
    assert sum(file.exists() for file in files) == 1
    for database in databases:
        await database.close()
