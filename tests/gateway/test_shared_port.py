"""Two that share a port as two processes do: who gets which connection, and that none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from palestra.gateway import shared_port
from palestra.gateway.shared_port import GONE, SharedPort, Tally, tally_file

SECONDS_MAX = 10


class Taken(asyncio.Protocol):
    """A connection that one of them has; it says whose it is."""

    def __init__(self, owner: Sharer) -> None:
        self.owner = owner

    def connection_made(self, transport: Any) -> None:
        self.owner.count += 1
        self.owner.transports.append(transport)
        transport.write(self.owner.name.encode())


class Scarce(socket.socket):
    """A listening socket for which there are no file descriptors at first."""

    refused = 0

    def accept(self) -> tuple[socket.socket, object]:
        if not self.refused:
            self.refused += 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


class Sharer:
    """One of those that listen."""

    def __init__(self, name: str, port: SharedPort) -> None:
        self.name = name
        self.port = port
        self.count = 0
        self.transports: list[Any] = []

    def open(self) -> None:
        """Begin to take connections."""
        self.port.open(lambda: Taken(self), lambda: self.count)

    def close(self) -> None:
        """End all of it."""
        self.port.close()
        for transport in self.transports:
            transport.abort()


@pytest.fixture
def tally() -> Iterator[Tally]:
    """For three, of whom the third is never there."""
    with tally_file(3) as file:
        yield Tally(file.fileno(), 3)


@pytest.fixture
async def sharers(tally: Tally) -> AsyncIterator[tuple[Sharer, Sharer]]:
    """Two, each with a descriptor of its own of one socket."""
    with bound() as listening:
        both = Sharer("a", SharedPort(listening.dup(), tally, 0)), Sharer("b", SharedPort(listening.dup(), tally, 1))
    for sharer in both:
        sharer.open()
    yield both
    for sharer in both:
        sharer.close()


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    """Connections that stay open as long as the test."""
    clients: list[socket.socket] = []
    yield clients
    for client in clients:
        client.close()


def bound(kind: type[socket.socket] = socket.socket) -> socket.socket:
    listening = kind()
    listening.bind(("127.0.0.1", 0))
    return listening


async def connected(clients: list[socket.socket], port: int, count: int) -> list[str]:
    """Connect so often at once; the names of those who took the connections."""
    new = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    clients += new
    return await asyncio.gather(*[taken_by(client) for client in new])


async def taken_by(client: socket.socket) -> str:
    """Who has the other end."""
    client.setblocking(False)
    async with asyncio.timeout(SECONDS_MAX):
        return (await asyncio.get_running_loop().sock_recv(client, 1)).decode()


async def test_each_gets_about_as_many(sharers: tuple[Sharer, Sharer], clients: list[socket.socket]) -> None:
    names = await connected(clients, sharers[0].port.number, 100)
    assert 40 <= names.count("a") <= 60


async def test_one_that_has_more_leaves_them_to_the_other(
    sharers: tuple[Sharer, Sharer], clients: list[socket.socket]
) -> None:
    a, b = sharers
    a.count = 50
    names = await connected(clients, b.port.number, 40)
    assert names.count("b") >= 30
    # The other one is gone, whatever it has: now all are ours.
    b.port.leave()
    assert await connected(clients, a.port.number, 10) == ["a"] * 10


async def test_those_that_wait_for_one_that_is_busy_or_hangs_are_taken_by_another(
    tally: Tally, sharers: tuple[Sharer, Sharer], clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.put(2, 0)
    assert len(await connected(clients, sharers[0].port.number, 20)) == 20
    # One that has not been heard of lately is not waited for.
    tally.put(2, 0)
    assert tally.lowest() == 0
    monkeypatch.setattr(shared_port, "STALE_SECONDS", -1.0)
    assert tally.lowest() == GONE


async def test_the_last_to_close_takes_what_has_come_and_then_refuses(
    sharers: tuple[Sharer, Sharer], clients: list[socket.socket]
) -> None:
    a, b = sharers
    port = a.port.number
    b.port.close()
    waiting = socket.create_connection(("127.0.0.1", port))
    clients.append(waiting)
    a.port.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert await taken_by(waiting) == "a"


async def test_without_file_descriptors_it_waits_and_goes_on(
    tally: Tally, clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_port, "TROUBLE_SECONDS", 0.01)
    sharer = Sharer("a", SharedPort(bound(Scarce), tally, 0))
    with contextlib.closing(sharer), capture_logs() as logs:
        sharer.open()
        assert await connected(clients, sharer.port.number, 3) == ["a"] * 3
    assert [entry["reason"] for entry in logs] == ["[Errno 24] too many open files"]
    assert tally.lowest() == GONE
