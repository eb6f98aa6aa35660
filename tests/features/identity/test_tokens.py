"""ID tokens and the keys behind them: what is believed, how often an issuer is asked, what happens when it is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.features.identity.contract import BadProof
from palestra.features.identity.published import AWAY_SECONDS, FRESH_SECONDS, KEPT_SECONDS_MAX, REFETCH_SECONDS_MIN
from palestra.features.identity.tokens import IdTokens, Trust
from palestra.gateway import outgoing as outgoing_module
from palestra.gateway.outgoing import Outgoing, ProviderAway
from tests.features.identity import fakes
from tests.features.identity.fakes import FakeProvider, ec_key, rsa_key


class World:
    """One issuer, and one who checks its tokens."""

    def __init__(self, provider: FakeProvider, *, timeout_seconds: float = 2.0) -> None:
        self.provider = provider
        self.clock = ManualClock()
        self.outgoing = Outgoing(timeout_seconds, loopback_http=True)
        self.tokens = self.checker(f"{provider.url}/keys")

    def checker(self, keys_url: str, *, nonce_required: bool = False) -> IdTokens:
        trust = Trust((self.provider.url,), ("game", "game-too"), nonce_required)
        return IdTokens("Own", trust, keys_url, self.outgoing, self.clock)

    def token(self, subject: str = "ann", audience: Any = "game", **changes: Any) -> str:
        return self.provider.token(subject, audience, now=self.clock.now(), **changes)

    async def subject(self, token: str, nonce: str = "") -> str:
        return (await self.tokens.verify(token, nonce)).sub

    @property
    def fetches(self) -> int:
        return self.provider.seen["/keys"]


@pytest.fixture
async def world(provider: FakeProvider) -> AsyncIterator[World]:
    world = World(provider)
    yield world
    await world.outgoing.stop()


async def refused(world: World, token: str, nonce: str = "") -> None:
    with pytest.raises(BadProof, match=r"^Could not authenticate Own profile\.$"):
        await world.tokens.verify(token, nonce)


async def test_a_token_by_either_kind_of_key_tells_who_it_is(world: World) -> None:
    assert await world.subject(world.token(key=rsa_key("one"))) == "ann"
    assert await world.subject(world.token("bob", key=ec_key("two"))) == "bob"
    assert await world.subject(world.token(audience=["another", "game-too"])) == "ann"
    assert await world.subject(world.token(aud=["game", "another"], azp="game")) == "ann"
    assert world.fetches == 1


CLAIMS: list[dict[str, Any]] = [
    {"aud": "another-game"},
    {"aud": []},
    {"aud": ["game", "another"], "azp": "another"},
    {"iss": "https://elsewhere.example"},
    {"exp": 1_750_000_000 - 61},
    {"exp": "soon"},
    {"exp": None},
    {"nbf": 1_750_000_000 + 61},
    {"iat": 1_750_000_000 + 61},
    {"sub": ""},
    {"sub": "s" * 256},
    {"sub": 7},
]


@pytest.mark.parametrize("claims", CLAIMS, ids=str)
async def test_a_token_for_others_or_of_another_time_proves_nothing(world: World, claims: dict[str, Any]) -> None:
    await refused(world, world.token(**claims))


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def head(**fields: Any) -> str:
    return part(json.dumps({"kid": "one", **fields}).encode())


def unsigned(world: World) -> str:
    return f"{head(alg='none')}.{world.token().split('.')[1]}."


def by_a_shared_secret(world: World) -> str:
    # The public key, which everybody knows, taken for the secret of an HMAC.
    signed = f"{head(alg='HS256')}.{world.token().split('.')[1]}"
    return f"{signed}.{part(hmac.digest(rsa_key('one').as_pem(private=False), signed.encode(), 'sha256'))}"


def changed(world: World) -> str:
    header, payload, signature = world.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{part(json.dumps({**claims, 'sub': 'admin'}).encode())}.{signature}"


def with_a_critical_extension(world: World) -> str:
    _, payload, signature = world.token().split(".")
    return f"{head(alg='RS256', crit=['own'], own=1)}.{payload}.{signature}"


FORGED: list[Callable[[World], str]] = [
    unsigned,
    by_a_shared_secret,
    changed,
    with_a_critical_extension,
    lambda world: world.token(key=rsa_key("foreign", "one")),
    lambda world: world.token(key=rsa_key("unknown")),
    lambda world: world.token().rsplit(".", 1)[0] + ".",
    lambda world: world.token() + ".more",
    lambda world: "",
    lambda world: "..",
    lambda world: "é" + world.token(),
    lambda world: part(b"[" * 9_000) + ".e30.e30",
    lambda world: world.token(padding="p" * 20_000),
]


@pytest.mark.parametrize("forge", FORGED)
async def test_a_forged_token_proves_nothing(world: World, forge: Callable[[World], str]) -> None:
    await refused(world, forge(world))
    assert await world.subject(world.token()) == "ann"


async def test_a_clock_that_is_a_minute_off_is_borne(world: World) -> None:
    now = world.clock.now()
    assert await world.subject(world.token(exp=int(now) - 59)) == "ann"
    assert await world.subject(world.token(iat=int(now) + 59)) == "ann"


async def test_a_nonce_that_a_client_names_must_be_in_the_token_plain_or_hashed(world: World) -> None:
    hashed = hashlib.sha256(b"chosen").hexdigest()
    assert await world.subject(world.token(nonce="chosen"), "chosen") == "ann"
    assert await world.subject(world.token(nonce=hashed), "chosen") == "ann"
    assert await world.subject(world.token(nonce="whatever")) == "ann"
    await refused(world, world.token(nonce="another"), "chosen")
    await refused(world, world.token(), "chosen")
    world.tokens = world.checker(f"{world.provider.url}/keys", nonce_required=True)
    await refused(world, world.token(nonce="chosen"))
    assert await world.subject(world.token(nonce="chosen"), "chosen") == "ann"


async def test_a_new_key_is_fetched_once_when_a_token_names_it(world: World) -> None:
    await world.subject(world.token())
    world.provider.keys = [rsa_key("three")]
    world.clock.advance(REFETCH_SECONDS_MIN)
    tokens = [world.token(f"player-{number}") for number in range(20)]
    assert len(set(await asyncio.gather(*map(world.subject, tokens)))) == 20
    assert world.fetches == 2
    # A key that is not published any more is not believed any more.
    await refused(world, world.token(key=rsa_key("one")))


async def test_made_up_key_names_do_not_make_the_node_ask_again_and_again(world: World) -> None:
    await world.subject(world.token())
    for number in range(10):
        await refused(world, world.token(key=rsa_key(f"unknown-{number % 2}")))
    assert world.fetches == 1
    world.clock.advance(REFETCH_SECONDS_MIN)
    for number in range(10):
        await refused(world, world.token(key=rsa_key(f"unknown-{number % 2}")))
    assert world.fetches == 2


async def test_a_crowd_that_comes_first_asks_for_the_keys_once(world: World) -> None:
    found = await asyncio.gather(*[world.subject(world.token(f"player-{number}")) for number in range(50)])
    assert len(set(found)) == 50
    assert world.fetches == 1


@pytest.mark.parametrize(
    "mood", [fakes.status_503, fakes.elsewhere, fakes.endless, fakes.garbage], ids=lambda m: m.__name__
)
async def test_an_issuer_that_does_not_answer_as_it_should_is_away_and_nothing_is_kept(world: World, mood: Any) -> None:
    world.provider.mood = mood
    with pytest.raises(ProviderAway, match=r"Own cannot be reached") as away:
        await world.subject(world.token())
    assert 0 < away.value.retry_after_seconds <= AWAY_SECONDS
    # It is left alone for a moment, then asked again.
    with pytest.raises(ProviderAway):
        await world.subject(world.token())
    assert world.fetches == 1
    world.provider.mood = None
    world.clock.advance(AWAY_SECONDS)
    assert await world.subject(world.token()) == "ann"


async def test_an_issuer_that_hangs_or_is_gone_is_away(world: World) -> None:
    slow = World(world.provider, timeout_seconds=0.05)
    world.provider.mood = fakes.hanging
    with pytest.raises(ProviderAway):
        await slow.subject(slow.token())
    await slow.outgoing.stop()
    world.provider.mood = None
    world.tokens = world.checker("http://127.0.0.1:9/keys")
    with pytest.raises(ProviderAway):
        await world.subject(world.token())


async def test_known_keys_serve_for_a_day_while_their_issuer_is_away(world: World) -> None:
    await world.subject(world.token())
    world.provider.mood = fakes.status_503
    world.clock.advance(FRESH_SECONDS)
    assert await world.subject(world.token()) == "ann"
    # Whether a key it does not know is real cannot be said: that is no reason to call the token forged.
    world.clock.advance(REFETCH_SECONDS_MIN)
    with pytest.raises(ProviderAway):
        await world.subject(world.token(key=rsa_key("three")))
    world.clock.advance(KEPT_SECONDS_MAX - FRESH_SECONDS)
    with pytest.raises(ProviderAway):
        await world.subject(world.token())


async def test_without_an_address_of_keys_the_issuer_is_asked_for_it(world: World) -> None:
    world.tokens = world.checker("")
    assert await world.subject(world.token()) == "ann"
    assert world.provider.seen["/.well-known/openid-configuration"] == world.fetches == 1


async def test_an_issuer_that_describes_another_or_unsafe_keys_is_not_believed(world: World) -> None:
    for description in (
        {"issuer": "https://elsewhere.example", "jwks_uri": f"{world.provider.url}/keys"},
        {"issuer": world.provider.url, "jwks_uri": "http://192.0.2.1/keys"},
        {"issuer": world.provider.url, "jwks_uri": "file:///etc/passwd"},
        {"issuer": world.provider.url},
    ):

        async def describe(request: Any, description: dict[str, str] = description) -> Any:
            return fakes.web.json_response(description)

        world.provider.mood = describe
        world.tokens = world.checker("")
        with pytest.raises(ProviderAway):
            await world.subject(world.token())
    assert world.fetches == 0


async def test_more_questions_than_the_limit_are_refused_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing_module, "REQUESTS_IN_FLIGHT_MAX", 1)
    asked = asyncio.Event()

    async def hanging(request: Any) -> Any:
        asked.set()
        return await fakes.hanging(request)

    world.provider.mood = hanging
    waiting = asyncio.ensure_future(world.outgoing.get("Own", f"{world.provider.url}/keys"))
    await asked.wait()
    with pytest.raises(outgoing_module.Overloaded, match="Too many requests to Own"):
        await world.outgoing.get("Own", f"{world.provider.url}/keys")
    world.provider.mood = None
    assert (await world.outgoing.get("Another", f"{world.provider.url}/keys")).status == 200
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await world.outgoing.get("Own", f"{world.provider.url}/keys")).status == 200
