"""Signatures of providers: HMAC-SHA256 over time, method, path and body; from known addresses, within a window."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping

from palestra.core.clock import Clock
from palestra.core.errors import PalestraError
from palestra.core.provider_settings import ProviderSettings, networks
from palestra.features.providers.contract import ForbiddenAddress, StaleTimestamp, WrongSignature
from palestra.features.providers.words import word_of
from palestra.gateway.operation import Operation

KNOWN_ADDRESSES_MAX = 1_024
PROVIDER, KEY = b"x-palestra-provider", b"x-palestra-key"
TIMESTAMP, SIGNATURE = b"x-palestra-timestamp", b"x-palestra-signature"

_SECONDS = re.compile(rb"[0-9]{1,12}").fullmatch


def signature(secret: bytes, timestamp: bytes, method: str, path: str, body: bytes) -> bytes:
    """The signature of a request in lower-case hex; upper-case is taken as well."""
    head = b"%b\n%b\n%b\n" % (timestamp, method.encode(), path.encode())
    return hmac.digest(secret, head + body, "sha256").hex().encode()


def signed_as(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, int]:
    """The signature of a verified request, which stands for all of its bytes, and the unix second in it."""
    given = dict(headers)
    return given[SIGNATURE].lower(), int(given[TIMESTAMP])


class _Signer:
    """One provider: its secrets, and where it may call from."""

    __slots__ = ("_known", "_networks", "secrets", "window_seconds")

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        self.secrets = {key_id.encode(): secret.encode() for key_id, secret in settings.keys.items()}
        self.window_seconds = settings.window_seconds
        self._networks = networks(name, settings)
        self._known: set[str] = set()

    def admits(self, address: str) -> bool:
        """Whether it may call from an address. Those seen before cost a look-up."""
        if address in self._known:
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if not any(parsed in network for network in self._networks):
            return False
        if len(self._known) < KNOWN_ADDRESSES_MAX:
            self._known.add(address)
        return True


class Signatures:
    """Implements the gateway's `Servers`. Whoever cannot sign learns nothing but that.

    A request that is sent again within the window is taken again, and answered as before: what was carried out from the
    ledger, on any node; what was refused from the memory of the node that refused it (`Refusals`).
    """

    def __init__(self, providers: Mapping[str, ProviderSettings], clock: Clock) -> None:
        self._signers = {name.encode(): _Signer(name, settings) for name, settings in providers.items()}
        self._now = clock.now

    def verify(self, operation: Operation, headers: list[tuple[bytes, bytes]], body: bytes, client_ip: str) -> str:
        """The provider that signed. Raises WrongSignature, StaleTimestamp, ForbiddenAddress."""
        given = dict(headers)
        try:
            name, key, timestamp, signed = given[PROVIDER], given[KEY], given[TIMESTAMP], given[SIGNATURE]
        except KeyError as missing:
            raise WrongSignature(f"The header {missing.args[0].decode()} is missing.") from None
        signer = self._signers.get(name)
        secret = signer.secrets.get(key) if signer is not None else None
        if (
            signer is None
            or secret is None
            or not hmac.compare_digest(
                signature(secret, timestamp, operation.method, operation.path, body), signed.lower()
            )
        ):
            raise WrongSignature("The signature is not of this provider and key over this request.")
        now = self._now()
        if not _SECONDS(timestamp) or abs(now - int(timestamp)) > signer.window_seconds:
            raise StaleTimestamp(f"Signed more than {signer.window_seconds} s off: this server's time is {int(now)}.")
        if not signer.admits(client_ip):
            raise ForbiddenAddress(f"The address {client_ip[:64]} is not in this provider's allow_ips.")
        return name.decode()

    def word(self, error: PalestraError) -> str:
        """The stable word of an error."""
        return word_of(error)
