"""Attaching identifiers to a player and taking them away."""

from __future__ import annotations

import pytest

from palestra.testing import Platform
from tests.features.accounts.players import PASSWORD, outcomes, player, refusal

LAST = (403, 7, "Cannot unlink last account identifier. Check profile exists and is not last link.")
DEVICE, CUSTOM = {"id": "device-0001"}, {"id": "custom-0001"}
EMAIL = {"email": "ann@example.org", "password": PASSWORD}


async def test_all_that_is_linked_leads_to_the_same_player_and_is_shown_to_them(platform: Platform) -> None:
    ann = await player(platform, "device", DEVICE)
    await ann.link("device", {"id": "device-0002"})
    await ann.link("custom", CUSTOM)
    await ann.link("email", {**EMAIL, "email": "Ann@Example.org"})
    for kind, body in (("device", {"id": "device-0002"}), ("custom", CUSTOM), ("email", EMAIL)):
        assert (await player(platform, kind, body)).id == ann.id
    account = await ann.account()
    assert [device["id"] for device in account["devices"]] == ["device-0001", "device-0002"]
    assert (account["custom_id"], account["email"]) == ("custom-0001", "ann@example.org")


async def test_linking_ones_own_again_is_fine(platform: Platform) -> None:
    ann = await player(platform, "device", DEVICE)
    for kind, body in (("device", DEVICE), ("custom", CUSTOM), ("email", EMAIL)):
        await ann.link(kind, body)
        await ann.link(kind, body)
    assert len((await ann.account())["devices"]) == 1


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("device", DEVICE, "Device ID already in use."),
        ("custom", CUSTOM, "Custom ID is already in use."),
        ("email", EMAIL, "Email is already in use."),
    ],
)
async def test_what_is_anothers_cannot_be_linked_and_of_two_at_once_one_gets_it(
    platform: Platform, kind: str, body: dict[str, str], told: str
) -> None:
    bob, dan = [await player(platform, "device", {"id": f"another-{name}"}) for name in ("bob", "dan")]
    at_once = await outcomes(bob.link(kind, body), dan.link(kind, body))
    assert sorted(at_once, key=str) == [(409, 6, told), None]
    owner = await player(platform, kind, body)
    assert owner.id in (bob.id, dan.id) and not owner.created


async def test_a_linked_address_replaces_address_and_password(platform: Platform) -> None:
    ann = await player(platform, "email", EMAIL)
    await ann.link("email", {"email": "new@example.org", "password": "another horse"})
    assert (await ann.account())["email"] == "new@example.org"
    assert (await refusal(player(platform, "email", EMAIL, create="false")))[0] == 404
    old_password = {"email": "new@example.org", "password": PASSWORD}
    assert (await refusal(player(platform, "email", old_password)))[0] == 401
    assert (await player(platform, "email", {"email": "new@example.org", "password": "another horse"})).id == ann.id


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"email": "ann@example.org"}, "Email address and password is required."),
        ({"password": PASSWORD}, "Email address and password is required."),
        ({"email": "a b@c.org", "password": "x"}, "Invalid email address, no spaces or control characters allowed."),
        ({"email": "nonsense", "password": "short"}, "Password must be at least 8 characters long."),
        ({"email": "nonsense", "password": PASSWORD}, "Invalid email address format."),
        ({"email": "a@b.c", "password": PASSWORD}, "Invalid email address, must be 10-255 bytes."),
    ],
)  # fmt: skip
async def test_linking_an_address_checks_in_the_documented_order(
    platform: Platform, body: dict[str, str], told: str
) -> None:
    ann = await player(platform, "device", DEVICE)
    assert await refusal(ann.link("email", body)) == (400, 3, told)


async def test_unlinking_takes_what_is_named_or_whatever_there_is_but_never_the_last(platform: Platform) -> None:
    ann = await player(platform, "device", DEVICE)
    assert await refusal(ann.unlink("device", DEVICE)) == LAST
    assert await refusal(ann.unlink("device", {})) == (400, 3, "A device ID must be supplied.")
    assert await refusal(ann.unlink("device", {"id": "device-of-another"})) == LAST
    await ann.unlink("custom", {})
    await ann.unlink("email", {})

    await ann.link("custom", CUSTOM)
    await ann.link("email", EMAIL)
    assert await refusal(ann.unlink("custom", {"id": "custom-0002"})) == LAST
    await ann.unlink("custom", CUSTOM)
    await ann.unlink("device", DEVICE)
    assert await refusal(ann.unlink("email", {"email": "ANN@example.org"})) == LAST
    await ann.link("custom", CUSTOM)
    await ann.unlink("email", {"email": "ANN@example.org"})
    assert await refusal(ann.unlink("custom", {})) == LAST
    account = await ann.account()
    assert (account.get("email"), account.get("devices"), account["custom_id"]) == (None, None, "custom-0001")


async def test_an_address_that_was_unlinked_takes_its_password_with_it(platform: Platform) -> None:
    ann = await player(platform, "device", DEVICE, username="ann")
    await ann.link("email", EMAIL)
    await player(platform, "email", {"password": PASSWORD}, username="ann")
    await ann.unlink("email", {})
    assert (await refusal(player(platform, "email", {"password": PASSWORD}, username="ann")))[0] == 401


async def test_two_unlinks_at_once_never_take_the_last_way_in(platform: Platform) -> None:
    for number in range(5):
        device, custom = {"id": f"device-{number:04}"}, {"id": f"custom-{number:04}"}
        ann = await player(platform, "device", device)
        await ann.link("custom", custom)
        at_once = await outcomes(ann.unlink("device", device), ann.unlink("custom", custom))
        assert sorted(at_once, key=str) == [LAST, None]


async def test_a_change_of_identifiers_shows_in_the_time_of_the_account(platform: Platform) -> None:
    ann = await player(platform, "device", DEVICE)
    database = platform.node.parts.database
    before = await database.fetchval("UPDATE users SET updated_at = 'epoch' RETURNING updated_at")
    await ann.link("custom", CUSTOM)
    assert await database.fetchval("SELECT updated_at FROM users") > before
