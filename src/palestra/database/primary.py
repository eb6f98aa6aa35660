"""Finding the server that takes writes: behind one name, or among several hosts of one URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from palestra.core.errors import SetupError
from palestra.core.log import get_logger
from palestra.database.transaction import Connection

log = get_logger(__name__)
HOST_SECONDS_MIN = 1.0
"""A host gets at least so long to answer, however many there are."""

# Codes of class 08 are connection failures, 53300 is a full server, 57P01-57P05 are a server that stops or starts.
# The last one is the driver's word for a server that is a standby.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TargetServerAttributeNotMatched,
)


class Primary:
    """Makes connections to whichever host of `url` takes writes; without `writable`, to any that answers.

    Hosts are tried one after the other, first the one that was right last time. The driver could do that too, but with
    one time limit for all of them, so that a machine that is off would use up the time of the next.
    """

    def __init__(self, url: str, timeout_seconds: float, *, writable: bool = True) -> None:
        self._url = url
        self._hosts = hosts_of(url)
        self._first = 0
        # The driver's hints say whole seconds, it takes fractions.
        self._timeout: Any = max(timeout_seconds / len(self._hosts), HOST_SECONDS_MIN)
        self._wanted: Any = "read-write" if writable else "any"

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """A new connection. Raises what the last host that was tried said, all of them having failed."""
        options.setdefault("connection_class", Connection)
        last = len(self._hosts) - 1
        for number in range(len(self._hosts)):
            at = (self._first + number) % len(self._hosts)
            try:
                connection = await asyncpg.connect(
                    self._url, **self._hosts[at], timeout=self._timeout, target_session_attrs=self._wanted, **options
                )
            except AWAY:
                if number == last:
                    raise
                continue
            if at != self._first:
                self._first = at
                log.warning("another host takes the writes now", host=self._hosts[at]["host"])
            return connection
        raise RuntimeError("a URL has at least one host")


def hosts_of(url: str) -> list[dict[str, Any]]:
    """What to tell the driver for each host of a URL; one empty entry where the URL itself says it all."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    named = parts.netloc.rpartition("@")[2]
    hosts = unquote(named or query.get("host", [""])[-1]).split(",")
    if len(hosts) == 1:
        return [{}]
    ports = query.get("port", ["5432"])[-1].split(",")
    found = []
    for number, text in enumerate(hosts):
        host, colon, port = text.rpartition(":")
        # What follows a colon inside brackets is not a port, it is the end of an IPv6 address.
        if not colon or port.endswith("]") or text.startswith("/"):
            host, port = text, ports[min(number, len(ports) - 1)]
        if not host or not port.isdigit():
            raise SetupError(f"the database URL names a host {text!r}: write host:port,host:port")
        found.append({"host": host.strip("[]"), "port": int(port)})
    return found
