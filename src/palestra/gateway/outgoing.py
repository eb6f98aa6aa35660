"""Requests of this node to others: over TLS, without redirects, within bounds of time, size and number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from palestra.core.addresses import is_safe_url
from palestra.core.errors import Overloaded, Unavailable
from palestra.core.log import get_logger

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX = 524_288
REQUESTS_IN_FLIGHT_MAX = 64
"""Per provider, so that one that hangs does not keep the others from being asked."""

log = get_logger(__name__)


class ProviderAway(Unavailable):
    """The provider could not be asked; nothing is known of what it would say."""

    def __init__(self, name: str, retry_after_seconds: float = 5.0) -> None:
        super().__init__(f"{name} cannot be reached, try again.", retry_after_seconds=retry_after_seconds)


class Answer(NamedTuple):
    """What a provider said: a status of 200–299 or 400–499."""

    status: int
    body: bytes


class Outgoing:
    """Asks providers. Whatever keeps one from answering is a ProviderAway, and addresses with tokens are not logged."""

    def __init__(self, timeout_seconds: float, loopback_http: bool) -> None:
        self._timeout_seconds = timeout_seconds
        self._loopback_http = loopback_http
        self._session: aiohttp.ClientSession | None = None
        self._in_flight: Counter[str] = Counter()

    async def get(
        self, name: str, url: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a GET. Raises ProviderAway, and Overloaded when too many wait for this provider."""
        return await self._asked(name, "GET", url, params=query, headers=headers)

    async def post(self, name: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to a POST; `headers` tell what the body is. Raises as `get`."""
        return await self._asked(name, "POST", url, data=body, headers=headers)

    async def _asked(self, name: str, method: str, url: str, **options: Any) -> Answer:
        # Some addresses come from answers of providers and from players.
        if not is_safe_url(url, self._loopback_http):
            self._failed(name, "not an https address")
        if self._in_flight[name] >= REQUESTS_IN_FLIGHT_MAX:
            raise Overloaded(f"Too many requests to {name} at this moment, try again.")
        self._in_flight[name] += 1
        try:
            return await self._answer(name, method, url, options)
        finally:
            self._in_flight[name] -= 1

    async def _answer(self, name: str, method: str, url: str, options: dict[str, Any]) -> Answer:
        import aiohttp

        try:
            async with self._connected().request(method, url, allow_redirects=False, **options) as answer:
                status = answer.status
                if (not 200 <= status < 300 and not 400 <= status < 500) or status == 429:
                    self._failed(name, f"status {status}")
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        self._failed(name, f"an answer of more than {ANSWER_BYTES_MAX} bytes")
                return Answer(status, bytes(body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._failed(name, type(error).__name__)

    def _failed(self, name: str, reason: str) -> NoReturn:
        log.warning("a provider could not be asked", provider=name, reason=reason)
        raise ProviderAway(name) from None

    def _connected(self) -> aiohttp.ClientSession:
        # Loaded when first needed: most nodes start without asking anybody, and it takes a tenth of a second.
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                # A small answer cannot become a large one.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "palestra"},
            )
        return self._session

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
