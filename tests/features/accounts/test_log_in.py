"""Logging in by device, custom id, e-mail and name; races for identifiers and names."""

from __future__ import annotations

import asyncio
from pathlib import Path

from palestra.core.config import DatabaseSettings, Settings
from palestra.features.accounts.contract import IdentityKind
from palestra.testing import Platform
from tests.features.accounts.players import PASSWORD, Client, outcomes, player, refusal

ANN = {"email": "Ann@Example.org", "password": PASSWORD}
TAKEN = (409, 6, "Username is already in use.")
UNKNOWN = (404, 5, "User account not found.")
WRONG = (401, 16, "Invalid credentials.")


async def test_the_first_log_in_makes_a_player_and_later_ones_find_them(platform: Platform) -> None:
    for kind, body in (("device", {"id": "device-0001"}), ("custom", {"id": "custom-0001"}), ("email", ANN)):
        first = await player(platform, kind, body, username=f"by-{kind}")
        again = await player(platform, kind, body, username="ignored")
        assert (first.created, again.created) == (True, False)
        assert first.id == again.id
        assert (await again.account())["user"]["username"] == f"by-{kind}"
    account = await (await player(platform, "email", {**ANN, "email": "ANN@EXAMPLE.ORG"})).account()
    assert account["email"] == "ann@example.org"


async def test_a_generated_name_is_ten_letters(platform: Platform) -> None:
    name = (await (await player(platform, "device", {"id": "device-0001"})).account())["user"]["username"]
    assert len(name) == 10 and name.isascii() and name.isalpha()


async def test_nobody_is_made_when_that_is_not_wanted(platform: Platform) -> None:
    for kind, body in (("device", {"id": "device-0001"}), ("custom", {"id": "custom-0001"}), ("email", ANN)):
        assert await refusal(player(platform, kind, body, create="false")) == UNKNOWN
    assert (await player(platform, "email", ANN)).created


async def test_the_same_text_is_another_player_by_another_kind_of_log_in(platform: Platform) -> None:
    device = await player(platform, "device", {"id": "ann@example.org"})
    custom = await player(platform, "custom", {"id": "ann@example.org"})
    email = await player(platform, "email", ANN)
    assert len({device.id, custom.id, email.id}) == 3


async def test_a_password_opens_by_address_and_by_name_and_nothing_else_does(platform: Platform) -> None:
    ann = await player(platform, "email", ANN, username="ann")
    by_name = await player(platform, "email", {"password": PASSWORD}, username="ann")
    assert by_name.id == ann.id
    wrong = {"email": ANN["email"], "password": "wrong horse"}
    assert await refusal(player(platform, "email", wrong)) == WRONG
    assert await refusal(player(platform, "email", {"password": "wrong horse"}, username="ann")) == WRONG
    assert await refusal(player(platform, "email", {"password": PASSWORD}, username="bob")) == UNKNOWN
    assert await refusal(player(platform, "email", {"password": PASSWORD}, username="a\0b")) == UNKNOWN
    await player(platform, "device", {"id": "device-0001"}, username="keyless")
    assert await refusal(player(platform, "email", {"password": PASSWORD}, username="keyless")) == WRONG
    needs_name = (400, 3, "Username is required when email address is not supplied.")
    assert await refusal(player(platform, "email", {"password": PASSWORD})) == needs_name
    assert await refusal(player(platform, "email", {})) == (400, 3, "Password must be at least 8 characters long.")


async def test_a_taken_name_is_refused_and_the_identifier_stays_free(platform: Platform) -> None:
    await player(platform, "device", {"id": "device-0001"}, username="ann")
    assert await refusal(player(platform, "device", {"id": "device-0002"}, username="ann")) == TAKEN
    assert (await player(platform, "device", {"id": "device-0002"}, username="Ann")).created


async def test_eight_first_log_ins_at_once_make_one_player(platform: Platform) -> None:
    found = await outcomes(*[player(platform, "device", {"id": "device-0001"}) for _ in range(8)])
    assert len({client.id for client in found}) == 1
    assert sum(client.created for client in found) == 1


async def test_eight_first_log_ins_at_once_by_one_address_make_one_player_whom_only_the_right_password_opens(
    platform: Platform,
) -> None:
    right = [player(platform, "email", ANN) for _ in range(8)]
    found = await outcomes(*right)
    assert len({client.id for client in found}) == 1
    assert sum(client.created for client in found) == 1
    two_minds = [{"email": "bob@example.org", "password": f"horse number {n}"} for n in range(2)]
    found = await outcomes(*[player(platform, "email", body) for body in two_minds])
    assert sum(isinstance(one, Client) for one in found) == 1
    assert found.count(WRONG) == 1


async def test_eight_at_once_with_one_name_are_one_player_and_seven_refusals(platform: Platform) -> None:
    logs = [player(platform, "device", {"id": f"device-{number:04}"}, username="ann") for number in range(8)]
    found = await outcomes(*logs)
    assert sum(isinstance(one, Client) for one in found) == 1
    assert found.count(TAKEN) == 7


async def test_two_nodes_that_meet_the_same_devices_at_once_make_each_player_once(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings(database=DatabaseSettings(key_ring_file=str(tmp_path / "keyring.json")))
    async with (
        Platform.start(database_url=database_url, settings=settings) as one,
        Platform.start(database_url=database_url, settings=settings) as two,
    ):
        for number in range(20):
            body = {"id": f"device-{number:04}"}
            found = await outcomes(player(one, "device", body), player(two, "device", body))
            assert all(isinstance(client, Client) for client in found), found
            assert found[0].id == found[1].id
            assert sum(client.created for client in found) == 1
        count = await one.node.parts.database.fetchval("SELECT count(*) FROM users")
        assert count == 20


async def test_an_identifier_taken_by_another_node_in_flight_is_found_there(platform: Platform) -> None:
    # Another node holds the row, uncommitted, while this one creates: it waits, loses, and finds.
    services = platform.node.parts.services
    store = services.account_store
    lookup = store.lookup(IdentityKind.DEVICE, "device-0001")
    user_id = "11111111-1111-4111-8111-111111111111"
    async with platform.node.parts.database.transaction() as tx:
        await tx.execute("INSERT INTO users (id, username) VALUES ($1, 'elsewhere')", user_id)
        sealed = store.seal(IdentityKind.DEVICE, user_id, lookup, "device-0001")
        await tx.execute("INSERT INTO identities VALUES (1, $1, $2, $3)", lookup, user_id, sealed)
        waiting = asyncio.ensure_future(player(platform, "device", {"id": "device-0001"}))
        while not await tx.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    found = await waiting
    assert (found.id, found.created) == (user_id, False)


async def test_users_are_found_by_id_and_name_and_their_secrets_are_not_shown(platform: Platform) -> None:
    ann = await player(platform, "email", ANN, username="ann")
    bob = await player(platform, "custom", {"id": "custom-0001"}, username="bob")
    async with platform.http.get(
        f"{platform.url}/v2/user?ids={ann.id.upper()}&ids={ann.id}&usernames=bob&usernames=nobody&usernames=a%00b",
        headers={"Authorization": bob._authorization},
    ) as answer:
        users = (await answer.json())["users"]
    assert sorted(user["username"] for user in users) == ["ann", "bob"]
    assert not {"email", "custom_id", "devices", "wallet", "password_hash"} & set().union(*users)
    bad = (400, 3, "ID 'nonsense' is not a valid system ID.")
    assert await refusal(ann.call("GET", "/v2/user", ids="nonsense")) == bad
