"""Logging in by providers as players notice it: whom it makes and finds, what it takes over, how it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.core.config import Settings
from palestra.core.errors import SetupError
from palestra.core.social_settings import OpenIdSettings, SocialSettings, SteamSettings
from palestra.features.accounts.contract import IdentityKind
from palestra.testing import Platform
from tests.features.accounts.players import Client, outcomes, player, refusal
from tests.features.identity import fakes
from tests.features.identity.fakes import BUNDLE_ID, FakeProvider, certificate, ec_key, instant_info, rsa_key

KINDS = {
    "apple": "apple_id",
    "custom": "",
    "facebook": "facebook_id",
    "facebookinstantgame": "facebook_instant_game_id",
    "gamecenter": "gamecenter_id",
    "google": "google_id",
    "steam": "steam_id",
}
SUBJECT = "76561190000000001"
UNKNOWN = (404, 5, "User account not found.")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_first_log_in_makes_a_player_and_later_ones_find_them(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    assert await refusal(player(platform, kind, provider.proof(kind, SUBJECT), create="false")) == UNKNOWN
    first = await player(platform, kind, provider.proof(kind, SUBJECT), username="ann")
    again = await player(platform, kind, provider.proof(kind, SUBJECT), username="ignored")
    assert (first.created, again.created, again.id) == (True, False, first.id)
    account = await again.account()
    assert account["user"]["username"] == "ann"
    shown = account["user"][KINDS[kind]] if KINDS[kind] else account["custom_id"].removeprefix("oidc:own:")
    assert shown == SUBJECT


@pytest.mark.parametrize("kind", KINDS)
async def test_eight_first_log_ins_at_once_make_one_player(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    found = await outcomes(*[player(platform, kind, provider.proof(kind, SUBJECT)) for _ in range(8)])
    assert all(isinstance(client, Client) for client in found), found
    assert len({client.id for client in found}) == 1
    assert sum(client.created for client in found) == 1


async def test_one_subject_at_two_providers_is_two_players(platform: Platform, provider: FakeProvider) -> None:
    found = [await player(platform, kind, provider.proof(kind, SUBJECT)) for kind in KINDS]
    assert len({client.id for client in found}) == len(KINDS)


async def test_friends_are_asked_for_only_where_a_provider_has_them(platform: Platform, provider: FakeProvider) -> None:
    for kind in ("apple", "google"):
        assert (await player(platform, kind, provider.proof(kind, SUBJECT), sync="true")).created


async def test_a_banned_player_is_turned_away(platform: Platform, provider: FakeProvider) -> None:
    ann = await player(platform, "apple", provider.proof("apple", SUBJECT))
    await platform.node.parts.services.accounts.ban([ann.id])
    banned = (403, 7, "User account banned.")
    assert await refusal(player(platform, "apple", provider.proof("apple", SUBJECT))) == banned


REQUIRED = [
    ("apple", {}, "Apple ID token is required."),
    ("facebook", {}, "Facebook access token is required."),
    ("google", {}, "Google access token is required."),
    ("steam", {}, "Steam access token is required."),
    ("facebookinstantgame", {}, "Signed Player Info for a Facebook Instant Game is required."),
    ("gamecenter", {}, "GameCenter bundle ID is required."),
    ("gamecenter", {"bundle_id": "b"}, "GameCenter player ID is required."),
    ("gamecenter", {"bundle_id": "b", "player_id": "p"}, "GameCenter public key URL is required."),
    ("gamecenter", {"bundle_id": "b", "player_id": "p", "public_key_url": "u"}, "GameCenter salt is required."),
]


@pytest.mark.parametrize(("kind", "body", "told"), REQUIRED)
async def test_what_is_missing_is_told_at_log_in_and_link(
    platform: Platform, kind: str, body: dict[str, str], told: str
) -> None:
    assert await refusal(player(platform, kind, body)) == (400, 3, told)
    ann = await player(platform, "device", {"id": "device-0001"})
    wrapped = {"account": body} if kind == "steam" else body
    assert await refusal(ann.link(kind, wrapped)) == (400, 3, told)


async def test_a_provider_that_is_not_set_up_says_so_and_in_the_documented_order(
    database_url: str, provider: FakeProvider
) -> None:
    async with Platform.start(database_url=database_url) as platform:
        ann = await player(platform, "device", {"id": "device-0001"})
        names = {"facebookinstantgame": "Facebook Instant Game", "gamecenter": "GameCenter", "custom": "OpenID"}
        for kind in KINDS:
            told = (400, 9, f"{names.get(kind, kind.capitalize())} authentication is not configured.")
            proof = provider.proof(kind, SUBJECT)
            assert await refusal(player(platform, kind, proof)) == told
            assert await refusal(ann.link(kind, {"account": proof} if kind == "steam" else proof)) == told
            await ann.unlink(kind, {})
        for kind in ("apple", "steam"):
            assert (await refusal(player(platform, kind, {})))[1] == 9
        assert (await refusal(ann.link("apple", {})))[1] == 9
        assert (await refusal(ann.link("steam", {})))[1] == 3
        assert (await refusal(ann.call("POST", "/v2/friend/facebook", {})))[1] == 3
        assert (await refusal(ann.call("POST", "/v2/friend/facebook", {"token": "t"})))[1] == 9
        assert (await refusal(ann.call("POST", "/v2/friend/steam", {})))[1] == 9


def bad_proofs(provider: FakeProvider) -> list[tuple[str, dict[str, Any]]]:
    """What proves nothing, by kind."""
    provider.people["foreign"] = {"id": SUBJECT, "app_id": "another"}
    provider.people["old"] = {"id": SUBJECT, "expires_at": 1}
    provider.people["withdrawn"] = {"id": SUBJECT, "is_valid": False}
    provider.people["two"] = {"id": SUBJECT, "user_id": "another"}
    center = provider.game_center
    good = center(SUBJECT)
    return [
        ("apple", {"token": "x"}),
        ("apple", provider.proof("google", SUBJECT)),
        ("apple", {**provider.proof("apple", SUBJECT), "vars": {"nonce": "another"}}),
        ("google", provider.proof("apple", SUBJECT)),
        *[("facebook", {"token": token}) for token in ("unknown", "foreign", "old", "withdrawn", "two", "x.y.z")],
        ("facebook", provider.proof("apple", SUBJECT)),
        ("steam", {"token": "not hex"}),
        ("steam", {"token": "abc"}),
        ("steam", {"token": "00" * 9_000}),
        ("steam", {"token": b"unknown".hex()}),
        ("custom", {"id": "oidc:own:x"}),
        ("custom", {"id": f"oidc:own:{SUBJECT}"}),
        ("custom", {"id": f"oidc:own:{provider.token(SUBJECT, BUNDLE_ID)}"}),
        ("custom", {"id": "oidc:"}),
        ("gamecenter", {**good, "player_id": "another"}),
        ("gamecenter", {**good, "salt": "c2FsdA="}),
        ("gamecenter", {**good, "signature": "AAAA"}),
        ("gamecenter", center(SUBJECT, bundle_id="org.example.another")),
        ("gamecenter", center(SUBJECT, now=1_500_000_000)),
        ("gamecenter", center(SUBJECT, timestamp_seconds=4_000_000_000)),
        ("gamecenter", center("p" * 129)),
        ("gamecenter", {**good, "timestamp_seconds": -1}),
        ("gamecenter", {**good, "public_key_url": "https://evil.example/public-key/game.cer"}),
        ("gamecenter", {**good, "public_key_url": f"{provider.url}/public-key/none.cer"}),
        ("gamecenter", {**good, "public_key_url": f"{provider.url}/keys"}),
        ("facebookinstantgame", {"signed_player_info": "garbage"}),
        ("facebookinstantgame", {"signed_player_info": instant_info(SUBJECT, secret="another")}),
        ("facebookinstantgame", {"signed_player_info": instant_info(SUBJECT, algorithm="none")}),
        ("facebookinstantgame", {"signed_player_info": instant_info(SUBJECT, issued_at=1)}),
        ("facebookinstantgame", {"signed_player_info": instant_info("")}),
    ]


async def test_a_proof_that_proves_nothing_is_refused_at_log_in_and_link(
    platform: Platform, provider: FakeProvider
) -> None:
    ann = await player(platform, "device", {"id": "device-0001"})
    names = {"facebookinstantgame": "Facebook Instant Game", "gamecenter": "GameCenter", "custom": "own"}
    for kind, body in bad_proofs(provider):
        told = (401, 16, f"Could not authenticate {names.get(kind, kind.capitalize())} profile.")
        if body == {"id": "oidc:"}:
            told = (401, 16, "Could not authenticate OpenID profile.")
        assert await refusal(ann.link(kind, {"account": body} if kind == "steam" else body)) == told, body
        if kind == "facebookinstantgame":
            text = "Error extracting the Facebook Instant Game player ID or validating the signature"
            told = (401, 16, text)
        assert await refusal(player(platform, kind, body)) == told, body
    assert await platform.node.parts.database.fetchval("SELECT count(*) FROM users") == 1


async def test_a_certificate_that_is_out_of_date_or_of_another_kind_opens_nothing(
    platform: Platform, provider: FakeProvider
) -> None:
    refused = (401, 16, "Could not authenticate GameCenter profile.")
    for bad in (certificate(rsa_key("one"), days=0), certificate(ec_key("two")), b"no certificate"):
        provider.certificate = bad
        platform.node.parts.services.identity.by_kind[IdentityKind.GAMECENTER]._certificates.clear()
        body = provider.game_center(SUBJECT)
        assert await refusal(player(platform, "gamecenter", body)) == refused


async def test_seconds_are_understood_as_well_as_the_milliseconds_of_apple(
    platform: Platform, provider: FakeProvider
) -> None:
    body = provider.game_center(SUBJECT)
    seconds = provider.game_center(SUBJECT, timestamp_seconds=body["timestamp_seconds"] // 1000)
    assert (await player(platform, "gamecenter", body)).id == (await player(platform, "gamecenter", seconds)).id
    assert provider.seen["/public-key/game.cer"] == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "facebookinstantgame"])
async def test_a_provider_that_is_away_is_told_with_a_time_to_come_back(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    provider.mood = fakes.status_503
    name = {"gamecenter": "GameCenter", "custom": "own"}.get(kind, kind.capitalize())
    headers = {"Authorization": "Basic ZGVmYXVsdGtleTo="}
    url = f"{platform.url}/v2/account/authenticate/{kind}"
    async with platform.http.post(url, json=provider.proof(kind, SUBJECT), headers=headers) as answer:
        assert answer.status == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        assert await answer.json() == {"code": 14, "message": f"{name} cannot be reached, try again."}


async def test_a_graph_that_asks_for_patience_is_away_and_a_wrong_steam_key_is_not_the_players_fault(
    database_url: str, provider: FakeProvider
) -> None:
    async def too_often(request: Any) -> Any:
        return fakes.web.json_response({"error": {"code": 4, "message": "too many calls"}}, status=400)

    steam = SteamSettings(app_id="480", publisher_key="wrong", api_url=f"{provider.url}/steam")
    settings = Settings(social=provider.settings(steam=steam))
    async with Platform.start(database_url=database_url, settings=settings) as platform:
        assert (await refusal(player(platform, "steam", provider.proof("steam", SUBJECT))))[:2] == (503, 14)
        provider.mood = too_often
        assert (await refusal(player(platform, "facebook", {"token": "any"})))[:2] == (503, 14)


async def test_a_nonce_named_in_the_session_variables_is_compared(platform: Platform, provider: FakeProvider) -> None:
    token = provider.token(SUBJECT, BUNDLE_ID, nonce="chosen")
    await player(platform, "apple", {"token": token, "vars": {"nonce": "chosen"}})
    custom = f"oidc:own:{provider.token(SUBJECT, 'game-at-own', nonce='chosen')}"
    await player(platform, "custom", {"id": custom, "vars": {"nonce": "chosen"}})
    refused = (401, 16, "Could not authenticate own profile.")
    assert await refusal(player(platform, "custom", {"id": custom, "vars": {"nonce": "another"}})) == refused


# -- what is taken over


def google(provider: FakeProvider, **claims: Any) -> dict[str, str]:
    return {"token": provider.token(SUBJECT, "client.example", **claims)}


async def test_google_fills_what_is_empty_at_every_log_in_and_overwrites_nothing(
    platform: Platform, provider: FakeProvider
) -> None:
    ann = await player(platform, "google", google(provider, name="Ann", picture="p" * 513))
    user = (await ann.account())["user"]
    assert (user["display_name"], user.get("avatar_url")) == ("Ann", None)
    await ann.call("PUT", "/v2/account", {"display_name": "Queen Ann"})
    later = {"name": "Ann Other", "picture": "https://pictures.example/ann.png"}
    user = (await (await player(platform, "google", google(provider, **later))).account())["user"]
    assert (user["display_name"], user["avatar_url"]) == ("Queen Ann", "https://pictures.example/ann.png")
    await ann.call("PUT", "/v2/account", {"display_name": ""})
    user = (await (await player(platform, "google", google(provider, **later))).account())["user"]
    assert user["display_name"] == "Ann Other"


async def test_facebook_fills_a_new_account_once(platform: Platform, provider: FakeProvider) -> None:
    picture = {"data": {"url": "https://pictures.example/ann.png"}}
    provider.people["t"] = {"id": SUBJECT, "name": "Ann", "email": "Ann@example.org", "picture": picture}
    ann = await player(platform, "facebook", {"token": "t"})
    account = await ann.account()
    assert account["user"]["display_name"] == "Ann"
    assert account["user"]["avatar_url"] == "https://pictures.example/ann.png"
    assert account["email"] == "ann@example.org"
    await ann.call("PUT", "/v2/account", {"display_name": ""})
    again = await player(platform, "facebook", {"token": "t"})
    assert "display_name" not in (await again.account())["user"]
    limited = {"token": provider.token("limited-ann", "4711", name="Lim", picture="https://p.example/l.png")}
    user = (await (await player(platform, "facebook", limited)).account())["user"]
    assert (user["display_name"], user["avatar_url"]) == ("Lim", "https://p.example/l.png")


@pytest.mark.parametrize("kind", ["apple", "google"])
async def test_an_address_is_taken_over_if_verified_and_if_nobody_has_it(
    platform: Platform, provider: FakeProvider, kind: str
) -> None:
    audience = fakes.AUDIENCES[kind]
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({"email": "Ann@example.org", "email_verified": True}, "ann@example.org"),
        ({"email": "ann@example.org", "email_verified": "true"}, None),
        ({"email": "bob@example.org", "email_verified": "true"}, "bob@example.org"),
        ({"email": "dan@example.org", "email_verified": False}, None),
        ({"email": "eve@example.org"}, None),
        ({"email": "not an address", "email_verified": True}, None),
    ]
    for number, (claims, kept) in enumerate(cases):
        token = provider.token(f"subject-{number}", audience, **claims)
        account = await (await player(platform, kind, {"token": token})).account()
        assert account.get("email") == kept


async def test_an_address_from_a_provider_opens_nothing_without_a_password(
    platform: Platform, provider: FakeProvider
) -> None:
    claims = {"email": "ann@example.org", "email_verified": True}
    ann = await player(platform, "google", google(provider, **claims))
    by_address = {"email": "ann@example.org", "password": "correct horse"}
    assert await refusal(player(platform, "email", by_address)) == (401, 16, "Invalid credentials.")
    # It would be a door without a key.
    assert (await refusal(ann.unlink("google", {})))[:2] == (403, 7)
    await ann.link("email", by_address)
    assert (await player(platform, "email", by_address)).id == ann.id
    await ann.unlink("google", {})


# -- issuers of the operator's own


async def test_custom_ids_of_issuers_are_never_taken_as_given(platform: Platform, provider: FakeProvider) -> None:
    ann = await player(platform, "custom", provider.proof("custom", SUBJECT))
    known = (await ann.account())["custom_id"]
    for text in (known, f"{known} ", "oidc:own", "oidc:own:"):
        assert (await refusal(player(platform, "custom", {"id": text})))[:2] == (401, 16)
    foreign = (400, 9, "OpenID authentication is not configured.")
    assert await refusal(player(platform, "custom", {"id": "oidc:another:x.y.z"})) == foreign
    # Other custom ids are as before.
    assert (await player(platform, "custom", {"id": "openid:own:x"})).created


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"oidc": {"Own": OpenIdSettings(issuer="https://own.example", audiences=("a",))}}, "small letters"),
    ({"oidc": {"own": OpenIdSettings(issuer="https://own.example", audiences=())}}, "audiences is empty"),
    (
        {"oidc": {"own": OpenIdSettings(issuer="http://own.example", audiences=("a",))}},
        "oidc.own.issuer must be an https",
    ),
    ({"steam": SteamSettings(api_url="http://127.0.0.1:1")}, "social.steam.api_url must be an https"),
    ({"steam": SteamSettings(api_url="https://me:secret@steam.example")}, "must be an https"),
    ({"steam": SteamSettings(api_url="https://steam.example:x")}, "must be an https"),
]


@pytest.mark.parametrize(("changes", "told"), BAD_SETTINGS)
async def test_settings_that_cannot_be_are_told_at_start(database_url: str, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SetupError, match=told):
        async with Platform.start(database_url=database_url, settings=Settings(social=SocialSettings(**changes))):
            raise AssertionError
