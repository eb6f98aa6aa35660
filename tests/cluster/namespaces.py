"""A broker and nodes as if on machines of their own: network namespaces, and cables that can swallow everything.

The proxy ends or holds connections; here the packets themselves vanish, and nobody's kernel is told.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

COMMAND_SECONDS_MAX = 10
SUBNETS = list(ipaddress.IPv4Network("198.18.0.0/15").subnets(new_prefix=27))
"""Of addresses for measurements (RFC 2544), which nobody routes. The number of one is that of its network."""
TRIES = 20
NOBODY = "02:00:00:00:00:00"
"""The address of a network card that is not there."""


class Place(NamedTuple):
    """Where a process runs: what its command begins with, and the address at which the test reaches it."""

    before: tuple[str, ...]
    host: str


HERE = Place((), "127.0.0.1")


class _End(NamedTuple):
    """One end of a cable."""

    namespace: str
    device: str
    address: str


class CommandFailed(Exception):
    """What `ip` said."""


class Network:
    """A broker and nodes, the test's cable to each of them, and one from each node to the broker."""

    def __init__(self, number: int, nodes: int) -> None:
        self._subnet = SUBNETS[number]
        self._namespaces = [f"palestra{number}-broker", *[f"palestra{number}-node{one}" for one in range(nodes)]]
        # Names of devices have 15 letters at most.
        self._outside = [f"palestra{number}-{cable}" for cable in range(nodes + 1)]
        self._cables = list(self._subnet.subnets(new_prefix=30))[: nodes + 1]
        self.broker, *self.nodes = [
            Place((_program(), "netns", "exec", namespace), str(cable[2]))
            for namespace, cable in zip(self._namespaces, self._cables, strict=True)
        ]

    def claim(self) -> None:
        """Take the number, which fails when somebody has it. Raises CommandFailed."""
        if routes := _ip("route", "show", "root", str(self._subnet)):
            raise CommandFailed(f"there is a route already: {routes}")
        _ip("netns", "add", self._namespaces[0])

    def lay(self) -> None:
        """Make the rest."""
        for namespace in self._namespaces[1:]:
            _ip("netns", "add", namespace)
        for outside, namespace, cable in zip(self._outside, self._namespaces, self._cables, strict=True):
            _ip("link", "add", outside, "type", "veth", "peer", "name", "test", "netns", namespace)
            _ip("addr", "add", f"{cable[1]}/30", "dev", outside)
            _ip("link", "set", outside, "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
            _raise(_End(namespace, "test", str(cable[2])))
        for node in range(len(self.nodes)):
            one, other = self._ends(node)
            peer = ("peer", "name", other.device, "netns", other.namespace)
            _ip("link", "add", one.device, "netns", one.namespace, "type", "veth", *peer)
            _raise(one)
            _raise(other)

    def remove(self) -> None:
        """Leave nothing, however much of it is there."""
        commands = [("link", "del", outside) for outside in self._outside]
        commands += [("netns", "del", namespace) for namespace in self._namespaces]
        for command in commands:
            with contextlib.suppress(CommandFailed):
                _ip(*command)

    def broker_of(self, node: int) -> str:
        """Where a node finds the broker."""
        return self._ends(node)[1].address

    def cut(self, node: int) -> None:
        """Let all that a node and the broker send each other vanish: it goes to a card that nobody has."""
        for near, far in self._ways(node):
            _neighbour("replace", near, far, "lladdr", NOBODY, "nud", "permanent")

    def heal(self, node: int) -> None:
        """Carry again."""
        for near, far in self._ways(node):
            _neighbour("del", near, far)

    def _ends(self, node: int) -> tuple[_End, _End]:
        """A node's cable to the broker. Nobody outside sees these addresses: each network has the same."""
        return (
            _End(self._namespaces[node + 1], "broker", f"10.0.{node}.2"),
            _End(self._namespaces[0], f"node{node}", f"10.0.{node}.1"),
        )

    def _ways(self, node: int) -> list[tuple[_End, _End]]:
        one, other = self._ends(node)
        return [(one, other), (other, one)]


@contextlib.contextmanager
def laid_network(nodes: int = 3) -> Iterator[Network]:
    """A network that nobody else has; whatever happens, nothing of it is left."""
    network = _claimed(nodes)
    try:
        network.lay()
        yield network
    finally:
        network.remove()


def _claimed(nodes: int) -> Network:
    failures: list[str] = []
    for number in random.SystemRandom().sample(range(len(SUBNETS)), TRIES):
        network = Network(number, nodes)
        try:
            network.claim()
        except CommandFailed as error:
            failures.append(str(error))
        else:
            return network
    raise CommandFailed("\n".join(failures))


def why_not() -> str:
    """What this machine lacks for such networks; nothing when it has all."""
    if not _program():
        return "`ip` is missing, which Debian has in iproute2"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        with laid_network(1) as network:
            network.cut(0)
            subprocess.run([*network.broker.before, "true"], check=True, timeout=COMMAND_SECONDS_MAX)
    except (CommandFailed, subprocess.CalledProcessError) as error:
        return f"this system makes no network namespaces: {error}"
    return ""


def _program() -> str:
    # Debian keeps it where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which("ip", path=path) or ""


def _ip(*words: str) -> str:
    command = [_program(), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _raise(end: _End) -> None:
    _ip("-n", end.namespace, "addr", "add", f"{end.address}/30", "dev", end.device)
    _ip("-n", end.namespace, "link", "set", end.device, "up")


def _neighbour(verb: str, near: _End, far: _End, *words: str) -> None:
    """What one end believes of the card at the other."""
    _ip("-n", near.namespace, "neigh", verb, far.address, "dev", near.device, *words)
