"""A provider's server made of code: signs its requests, or signs them wrongly on purpose."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import aiohttp

from palestra.core.config import Settings
from palestra.core.provider_settings import ProviderSettings
from palestra.features.providers.signatures import signature
from palestra.testing import Bot, Platform

SECRET, SECOND_SECRET, OTHER_SECRET = "s" * 32, "t" * 32, "u" * 32
PREFIX = "/v2/palestra/provider"
ASSET = "coins"
_numbers = itertools.count(1)

SETTINGS = Settings(
    providers={
        "acme": ProviderSettings(
            keys={"k1": SECRET, "k2": SECOND_SECRET}, allow_ips=("127.0.0.0/8",), assets=(ASSET, "gems", "undeclared")
        ),
        "other": ProviderSettings(keys={"k1": OTHER_SECRET}, allow_ips=("127.0.0.0/8",), assets=(ASSET,)),
        "far": ProviderSettings(keys={"k1": "v" * 32}, allow_ips=("192.0.2.0/24",), assets=(ASSET,)),
        "off": ProviderSettings(keys={"k1": "w" * 32}, allow_ips=("127.0.0.0/8",), assets=(ASSET,), enabled=False),
    }
)


def fresh(name: str = "t") -> str:
    """An id that no other request has."""
    return f"{name}-{next(_numbers)}"


class Refused(Exception):
    """An answer other than 200: status, word, message."""

    def __init__(self, status: int, word: str, message: str, headers: Any) -> None:
        super().__init__(f"{status} {word}: {message}")
        self.status, self.word, self.message, self.headers = status, word, message, headers


class Provider:
    """Speaks for one provider to one node."""

    def __init__(self, platform: Platform, name: str = "acme", key: str = "k1", secret: str = SECRET) -> None:
        self._http: aiohttp.ClientSession = platform.http
        self._url = platform.url
        self.name, self.key, self.secret = name, key, secret
        self.ahead_seconds = 0
        """How far the provider's clock is ahead of this machine's."""

    def signed(self, action: str, body: bytes, *, age: int = 0) -> dict[str, str]:
        """The headers of a request, signed `age` seconds ago."""
        path = f"{PREFIX}/{action}"
        timestamp = str(int(time.time()) + self.ahead_seconds - age)
        return {
            "X-Palestra-Provider": self.name,
            "X-Palestra-Key": self.key,
            "X-Palestra-Timestamp": timestamp,
            "X-Palestra-Signature": signature(self.secret.encode(), timestamp.encode(), "POST", path, body).decode(),
        }

    async def send(self, action: str, body: bytes, *, age: int = 0, headers: dict[str, str] | None = None) -> bytes:
        """Sign and send a body as it is; the answer's bytes. `headers` take the place of good ones. Raises Refused."""
        signed = {**self.signed(action, body, age=age), **(headers or {})}
        async with self._http.post(f"{self._url}{PREFIX}/{action}", data=body, headers=signed) as answer:
            content = await answer.read()
            if answer.status != 200:
                error = json.loads(content)
                assert set(error) == {"error", "code", "message"} and error["message"], error
                raise Refused(answer.status, error["error"], error["message"], answer.headers)
            return content

    async def call(self, action: str, **fields: Any) -> dict[str, Any]:
        """One request with a request id of its own, unless one is given. Raises Refused."""
        return json.loads(await self.send(action, json.dumps({"request_id": fresh("q"), **fields}).encode()))

    async def begin(self, bot: Bot) -> str:
        """The session of a player's play."""
        return (await self.call("authenticate", token=bot.token))["session"]

    async def debit(self, bot: Bot, session: str, amount: Any, **changed: Any) -> dict[str, Any]:
        """A stake."""
        fields = {"transaction_id": fresh(), "round_id": "r", "player_id": bot.id, "asset": ASSET, **changed}
        return await self.call("debit", session=session, amount=amount, **fields)

    async def credit(self, bot: Bot, amount: Any, **changed: Any) -> dict[str, Any]:
        """A payout."""
        fields = {"transaction_id": fresh(), "round_id": "r", "player_id": bot.id, "asset": ASSET, **changed}
        return await self.call("credit", amount=amount, **fields)

    async def rollback(self, bot: Bot, transaction_id: str, **changed: Any) -> dict[str, Any]:
        """The undoing of a stake."""
        fields = {"transaction_id": transaction_id, "round_id": "r", "player_id": bot.id, "asset": ASSET, **changed}
        return await self.call("rollback", **fields)

    async def balance(self, bot: Bot, asset: str = ASSET) -> int:
        """What a player can spend."""
        return int((await self.call("balance", player_id=bot.id, asset=asset))["balance"])
