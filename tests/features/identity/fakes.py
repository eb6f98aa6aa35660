"""Providers made of code, on this machine: an issuer of ID tokens with its own keys, a graph, Steam, Game Center."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from palestra.core.social_settings import (
    AppleSettings,
    FacebookInstantSettings,
    FacebookSettings,
    GameCenterSettings,
    GoogleSettings,
    OpenIdSettings,
    SocialSettings,
    SteamSettings,
)

APP_ID, APP_SECRET, INSTANT_SECRET, STEAM_KEY = "4711", "graph-secret", "instant-secret", "steam-key"
BUNDLE_ID = "org.example.game"
AUDIENCES = {"apple": BUNDLE_ID, "google": "client.example", "facebook": APP_ID, "own": "game-at-own"}


@cache
def rsa_key(name: str, kid: str = "") -> RSAKey:
    """A key pair of a name, made once, that calls itself so or `kid`."""
    return RSAKey.generate_key(2048, {"kid": kid or name})


@cache
def ec_key(name: str) -> ECKey:
    """A key pair on a curve."""
    return ECKey.generate_key("P-256", {"kid": name})


class FakeProvider:
    """Everything a node may ask. `seen` counts requests by path; `mood` changes how all are answered."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[Any] = [rsa_key("one"), ec_key("two")]
        self.seen: Counter[str] = Counter()
        self.mood: Callable[[web.Request], Any] | None = None
        self.people: dict[str, dict[str, Any]] = {}
        """Access tokens of the graph: fields of `me`, and `app_id`, `expires_at`, `is_valid` if unusual."""
        self.graph_friends: list[str] = []
        self.steam_friends: list[str] | None = []
        self.certificate = certificate(rsa_key("one"))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeProvider]:
        """Listen on a free port of this machine."""
        app = web.Application()
        for path, handler in {
            "/.well-known/openid-configuration": self._describe,
            "/keys": self._publish,
            "/graph/debug_token": self._inspect,
            "/graph/me": self._me,
            "/graph/me/friends": self._graph_friends,
            "/steam/ISteamUserAuth/AuthenticateUserTicket/v1/": self._ticket,
            "/steam/ISteamUser/GetFriendList/v1/": self._steam_friends,
            "/public-key/game.cer": self._certificate,
        }.items():
            app.router.add_get(path, self._watched(handler))
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def settings(self, **changes: Any) -> SocialSettings:
        """Settings of a node for which this is every provider there is."""
        keys = f"{self.url}/keys"
        given: dict[str, Any] = {
            "loopback_http": True,
            "timeout_seconds": 2.0,
            "apple": AppleSettings(bundle_ids=(BUNDLE_ID,), issuer=self.url, keys_url=keys),
            "google": GoogleSettings(client_ids=("client.example",), issuers=(self.url,), keys_url=keys),
            "facebook": FacebookSettings(
                app_id=APP_ID, app_secret=APP_SECRET, graph_url=f"{self.url}/graph", issuers=(self.url,), keys_url=keys
            ),
            "facebook_instant": FacebookInstantSettings(app_secret=INSTANT_SECRET),
            "game_center": GameCenterSettings(bundle_ids=(BUNDLE_ID,), key_host="127.0.0.1"),
            "steam": SteamSettings(app_id="480", publisher_key=STEAM_KEY, api_url=f"{self.url}/steam"),
            "oidc": {"own": OpenIdSettings(issuer=self.url, audiences=("game-at-own",))},
        }
        return SocialSettings(**{**given, **changes})

    # -- what players bring along

    def token(self, subject: str, audience: str, *, key: Any = None, now: float | None = None, **claims: Any) -> str:
        """An ID token."""
        now = time.time() if now is None else now
        key = key or self.keys[0]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        body = {"iss": self.url, "sub": subject, "aud": audience, "iat": int(now), "exp": int(now) + 600, **claims}
        return jwt.encode({"alg": algorithm, "kid": key.kid}, body, key)

    def proof(self, kind: str, subject: str) -> dict[str, Any]:
        """The body of a log-in by a kind of provider."""
        if kind == "facebookinstantgame":
            return {"signed_player_info": instant_info(subject)}
        if kind == "gamecenter":
            return self.game_center(subject)
        if kind == "steam":
            return {"token": subject.encode().hex()}
        if kind == "custom":
            return {"id": f"oidc:own:{self.token(subject, 'game-at-own')}"}
        return {"token": self.token(subject, AUDIENCES[kind])}

    def game_center(self, player_id: str, *, now: float | None = None, **changes: Any) -> dict[str, Any]:
        """What Game Center gives a player, or somebody who changed it."""
        body: dict[str, Any] = {
            "player_id": player_id,
            "bundle_id": BUNDLE_ID,
            "timestamp_seconds": int((time.time() if now is None else now) * 1000),
            "public_key_url": f"{self.url}/public-key/game.cer",
        }
        body |= {name: value for name, value in changes.items() if name in ("bundle_id", "timestamp_seconds")}
        moment = body["timestamp_seconds"].to_bytes(8, "big")
        signed = player_id.encode() + body["bundle_id"].encode() + moment + b"salt"
        private: rsa.RSAPrivateKey = rsa_key("one").private_key  # type: ignore[assignment]
        signature = private.sign(signed, padding.PKCS1v15(), SHA256())
        body |= {"salt": base64.b64encode(b"salt").decode(), "signature": base64.b64encode(signature).decode()}
        return {**body, **changes}

    # -- what a node asks

    def _watched(self, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.seen[request.path] += 1
            if self.mood is not None:
                return await self.mood(request)
            return await handler(request)

        return answer

    async def _describe(self, request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys", "scopes_supported": []})

    async def _publish(self, request: web.Request) -> web.Response:
        published = [{"use": "sig", **key.as_dict(private=False)} for key in self.keys]
        strange = [{"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}, {"kty": "RSA", "kid": "broken", "n": 1}, "x"]
        return web.json_response({"keys": [*strange, *published]})

    async def _inspect(self, request: web.Request) -> web.Response:
        assert request.query["access_token"] == f"{APP_ID}|{APP_SECRET}"
        person = self.people.get(request.query["input_token"])
        if person is None:
            return web.json_response({"data": {"is_valid": False, "error": {"code": 190}}})
        found = {"app_id": APP_ID, "is_valid": True, "expires_at": 0, "user_id": person["id"]}
        return web.json_response({"data": {key: person.get(key, value) for key, value in found.items()}})

    def _graph_person(self, request: web.Request) -> dict[str, Any] | None:
        token = request.query["access_token"]
        proof = hmac.new(APP_SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
        return self.people.get(token) if request.query["appsecret_proof"] == proof else None

    async def _me(self, request: web.Request) -> web.Response:
        person = self._graph_person(request)
        if person is None:
            return web.json_response({"error": {"code": 190, "message": "no"}}, status=400)
        return web.json_response({key: person[key] for key in ("id", "name", "email", "picture") if key in person})

    async def _graph_friends(self, request: web.Request) -> web.Response:
        if self._graph_person(request) is None:
            return web.json_response({"error": {"code": 190, "message": "no"}}, status=400)
        start = int(request.query.get("after", 0))
        page = self.graph_friends[start : start + 2]
        paging: dict[str, Any] = {"cursors": {"after": str(start + 2)}}
        if start + 2 < len(self.graph_friends):
            paging["next"] = "https://somewhere.example/never-asked"
        return web.json_response({"data": [{"id": one} for one in page], "paging": paging})

    async def _ticket(self, request: web.Request) -> web.Response:
        if request.query["key"] != STEAM_KEY:
            return web.Response(status=403, text="<html>Forbidden</html>")
        subject = bytes.fromhex(request.query["ticket"]).decode()
        if not subject.startswith("7656"):
            return web.json_response({"response": {"error": {"errorcode": 101, "errordesc": "Invalid ticket"}}})
        return web.json_response({"response": {"params": {"result": "OK", "steamid": subject, "vacbanned": False}}})

    async def _steam_friends(self, request: web.Request) -> web.Response:
        if self.steam_friends is None:
            return web.json_response({}, status=401)
        friends = [{"steamid": one, "relationship": "friend", "friend_since": 0} for one in self.steam_friends]
        return web.json_response({"friendslist": {"friends": friends}})

    async def _certificate(self, request: web.Request) -> web.Response:
        return web.Response(body=self.certificate)


def instant_info(player_id: str, *, secret: str = INSTANT_SECRET, **changes: Any) -> str:
    """Signed player info of an instant game."""
    info = {"algorithm": "HMAC-SHA256", "player_id": player_id, "issued_at": int(time.time()), **changes}
    payload = base64.urlsafe_b64encode(json.dumps(info).encode()).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.digest(secret.encode(), payload, "sha256")).rstrip(b"=")
    return f"{signature.decode()}.{payload.decode()}"


def certificate(key: Any, days: int = 365) -> bytes:
    """A certificate of a key, valid from yesterday on."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Game Center")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    public = key.public_key if isinstance(key, RSAKey) else ec.generate_private_key(ec.SECP256R1()).public_key()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .sign(rsa_key("one").private_key, SHA256())  # type: ignore[arg-type]
    )
    return built.public_bytes(serialization.Encoding.DER)


async def status_503(request: web.Request) -> web.Response:
    """A provider that is out of order."""
    return web.Response(status=503)


async def elsewhere(request: web.Request) -> web.Response:
    """A provider that sends people to another place."""
    raise web.HTTPFound("https://elsewhere.example/keys")


async def endless(request: web.Request) -> web.StreamResponse:
    """A provider that talks without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65_536)


async def garbage(request: web.Request) -> web.Response:
    """A provider that says nothing of sense."""
    return web.Response(text="[" * 5_000)


async def hanging(request: web.Request) -> web.Response:
    """A provider that never answers."""
    await asyncio.Event().wait()
    raise AssertionError
