"""Attaching accounts at providers to a player and taking them away."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.testing import Platform
from tests.features.accounts.players import Client, outcomes, player, refusal
from tests.features.identity import fakes
from tests.features.identity.fakes import FakeProvider

KINDS = {
    "apple": "Apple ID is already in use.",
    "custom": "Custom ID is already in use.",
    "facebook": "Facebook ID is already in use.",
    "facebookinstantgame": "Facebook Instant Game ID is already in use.",
    "gamecenter": "GameCenter ID is already in use.",
    "google": "Google ID is already in use.",
    "steam": "Steam ID is already in use.",
}
ONE, TWO = "76561190000000001", "76561190000000002"
LAST = (403, 7, "Cannot unlink last account identifier. Check profile exists and is not last link.")


def link_body(provider: FakeProvider, kind: str, subject: str) -> dict[str, Any]:
    proof = provider.proof(kind, subject)
    return {"account": proof} if kind == "steam" else proof


async def by_device(platform: Platform, name: str) -> Client:
    return await player(platform, "device", {"id": f"device-of-{name}"})


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_linked_leads_to_the_player_and_takes_the_place_of_another_of_its_kind(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    ann = await by_device(platform, "ann")
    for _ in range(2):
        await ann.link(kind, link_body(provider, kind, ONE))
    assert (await player(platform, kind, provider.proof(kind, ONE))).id == ann.id
    await ann.link(kind, link_body(provider, kind, TWO))
    assert (await player(platform, kind, provider.proof(kind, TWO))).id == ann.id
    assert (await refusal(player(platform, kind, provider.proof(kind, ONE), create="false")))[0] == 404


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_anothers_cannot_be_linked_and_of_two_at_once_one_gets_it(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    bob, dan = await by_device(platform, "bob"), await by_device(platform, "dan")
    body = link_body(provider, kind, ONE)
    at_once = await outcomes(bob.link(kind, body), dan.link(kind, body))
    assert sorted(at_once, key=str) == [(409, 6, KINDS[kind]), None]
    owner = await player(platform, kind, provider.proof(kind, ONE))
    assert owner.id in (bob.id, dan.id) and not owner.created


@pytest.mark.parametrize("kind", KINDS)
async def test_the_last_way_in_stays_and_a_proof_must_be_of_what_is_linked(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    ann = await player(platform, kind, provider.proof(kind, ONE))
    assert await refusal(ann.unlink(kind, {})) == LAST
    assert await refusal(ann.unlink(kind, provider.proof(kind, ONE))) == LAST
    device = {"id": "device-of-ann"}
    await ann.link("device", device)
    assert await refusal(ann.unlink(kind, provider.proof(kind, TWO))) == LAST
    await ann.unlink(kind, provider.proof(kind, ONE))
    assert await refusal(ann.unlink(kind, provider.proof(kind, ONE))) == LAST
    await ann.unlink(kind, {})
    await ann.link(kind, link_body(provider, kind, ONE))
    at_once = await outcomes(ann.unlink(kind, {}), ann.unlink("device", device))
    assert sorted(at_once, key=str) == [LAST, None]


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_is_linked_goes_with_an_empty_body(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    ann = await by_device(platform, "ann")
    await ann.link(kind, link_body(provider, kind, ONE))
    await ann.unlink(kind, {})
    assert (await player(platform, kind, provider.proof(kind, ONE))).created


async def test_an_issuers_id_can_be_unlinked_as_the_account_shows_it(
    platform: Platform, provider: FakeProvider
) -> None:
    ann = await by_device(platform, "ann")
    await ann.link("custom", provider.proof("custom", ONE))
    await ann.unlink("custom", {"id": (await ann.account())["custom_id"]})
    assert "custom_id" not in await ann.account()


async def test_an_incomplete_proof_of_game_center_counts_as_none(platform: Platform, provider: FakeProvider) -> None:
    ann = await by_device(platform, "ann")
    await ann.link("gamecenter", provider.proof("gamecenter", ONE))
    await ann.unlink("gamecenter", {"player_id": "somebody", "signature": "AAAA"})
    assert "gamecenter_id" not in (await ann.account())["user"]


async def test_a_proof_that_cannot_be_checked_now_changes_nothing(platform: Platform, provider: FakeProvider) -> None:
    ann = await by_device(platform, "ann")
    await ann.link("steam", link_body(provider, "steam", ONE))
    provider.mood = fakes.status_503
    assert (await refusal(ann.unlink("steam", provider.proof("steam", ONE))))[:2] == (503, 14)
    assert (await refusal(ann.link("steam", link_body(provider, "steam", TWO))))[:2] == (503, 14)
    assert (await ann.account())["user"]["steam_id"] == ONE
