"""The PROXY protocol, versions 1 and 2: how a balancer that passes bytes on tells whose they are.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

LINE_BYTES_MAX = 107
"""A header of version 1, its line end included."""
BLOCK_BYTES_MAX = 2_048
"""A header of version 2; the rest of what one may hold are remarks of the balancer's."""
LINE_START = b"PROXY "
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_BYTES = 16
LOCAL, PROXY = 0x20, 0x21
ADDRESS_BYTES = {0x11: 4, 0x12: 4, 0x21: 16, 0x22: 16}
"""Families of version 2 whose addresses we read: IPv4 and IPv6."""
UNKNOWN_FAMILIES = frozenset((0x00, 0x31, 0x32))
"""Unspecified, and Unix sockets."""
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ([0-9]{1,5}) ([0-9]{1,5})")
PORT_MAX = 65_535


class BadProxyHeader(Exception):
    """The connection does not begin as the protocol demands."""


class Origin(NamedTuple):
    """Where a connection comes from, None where the header does not say, and how many bytes the header took."""

    client: tuple[str, int] | None
    header_bytes: int


def read_origin(data: bytes) -> Origin | None:
    """What the header at the beginning of `data` says; None while it has not arrived whole. Raises BadProxyHeader."""
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _block(data)
    if data[: len(LINE_START)] == LINE_START[: len(data)]:
        return _line(data)
    raise BadProxyHeader("neither version of the protocol begins like this")


def _line(data: bytes) -> Origin | None:
    end = data.find(b"\r\n", 0, LINE_BYTES_MAX)
    if end < 0:
        if len(data) >= LINE_BYTES_MAX:
            raise BadProxyHeader("the line does not end")
        return None
    line = data[:end]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Origin(None, end + 2)
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadProxyHeader("the line is not one of the protocol")
    family, source, destination, *ports = found.groups()
    kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        address, _ = kind(source.decode()), kind(destination.decode())
    except ValueError:
        raise BadProxyHeader("an address is none of its family") from None
    if any(int(port) > PORT_MAX for port in ports):
        raise BadProxyHeader("a port is too large")
    return Origin((str(address), int(ports[0])), end + 2)


def _block(data: bytes) -> Origin | None:
    if len(data) < FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    following = int.from_bytes(data[14:16])
    if command not in (LOCAL, PROXY):
        raise BadProxyHeader("the version or the command is not known")
    if FIXED_BYTES + following > BLOCK_BYTES_MAX:
        raise BadProxyHeader("the block is too long")
    size = ADDRESS_BYTES.get(family)
    if command == PROXY and (family not in UNKNOWN_FAMILIES if size is None else following < 2 * size + 4):
        raise BadProxyHeader("the family is not known, or its addresses are cut short")
    end = FIXED_BYTES + following
    if len(data) < end:
        return None
    if command == LOCAL or size is None:
        # The balancer itself looks whether we live.
        return Origin(None, end)
    address = ipaddress.ip_address(data[FIXED_BYTES : FIXED_BYTES + size])
    port = int.from_bytes(data[FIXED_BYTES + 2 * size : FIXED_BYTES + 2 * size + 2])
    return Origin((str(address), port), end)
