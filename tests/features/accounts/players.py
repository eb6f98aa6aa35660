"""Log-ins of every kind, for the tests of accounts."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable
from typing import Any

from palestra.testing import BotError, Platform

KEY = "Basic " + base64.b64encode(b"defaultkey:").decode()
PASSWORD = "correct horse"


class Client:
    """Whoever calls: with the server key at first, with a session after `log_in`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._authorization = KEY
        self.id = ""
        self.created = False

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The answer. Raises BotError."""
        url = self._platform.url + path
        headers = {"Authorization": self._authorization}
        async with self._platform.http.request(method, url, json=body, params=query, headers=headers) as answer:
            content = json.loads(await answer.read() or b"{}")
            if answer.status != 200:
                raise BotError(answer.status, content.get("code", 0), content.get("message", ""))
            return content

    async def log_in(self, kind: str, body: dict[str, Any], **query: str) -> Client:
        """Log in by an identifier of a kind; becomes that player."""
        answer = await self.call("POST", f"/v2/account/authenticate/{kind}", body, **query)
        payload = answer["token"].split(".")[1]
        self.id = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["uid"]
        self.created = answer.get("created", False)
        self._authorization = f"Bearer {answer['token']}"
        return self

    async def link(self, kind: str, body: dict[str, Any]) -> None:
        await self.call("POST", f"/v2/account/link/{kind}", body)

    async def unlink(self, kind: str, body: dict[str, Any]) -> None:
        await self.call("POST", f"/v2/account/unlink/{kind}", body)

    async def account(self) -> Any:
        return await self.call("GET", "/v2/account")


async def player(platform: Platform, kind: str, body: dict[str, Any], **query: str) -> Client:
    """Somebody who has just logged in."""
    return await Client(platform).log_in(kind, body, **query)


async def refusal(waiting: Awaitable[Any]) -> tuple[int, int, str]:
    """(status, code, message) of a call that is refused."""
    try:
        await waiting
    except BotError as error:
        return error.status, error.code, error.message
    raise AssertionError("this was not refused")


async def outcomes(*waiting: Awaitable[Any]) -> list[Any]:
    """What calls made at once come to: an answer, or (status, code, message)."""
    found = await asyncio.gather(*waiting, return_exceptions=True)
    return [(f.status, f.code, f.message) if isinstance(f, BotError) else f for f in found]
