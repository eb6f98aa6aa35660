"""Settings of third parties whose games are played with the platform's money, and what is refused about them."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping

import msgspec

from palestra.core.errors import SetupError

KEYS_MAX = 2
SECRET_CHARS_MIN = 32
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}").fullmatch
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch


class ProviderSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[providers.NAME]`: one of them.

    `keys` maps the id of a key to its secret: two while one takes the place of the other. `allow_ips` holds addresses
    and networks. Without `enabled` no new play begins, and what was begun can still be settled.
    """

    keys: dict[str, str]
    allow_ips: tuple[str, ...]
    assets: tuple[str, ...]
    enabled: bool = True
    window_seconds: int = 300
    deadline_seconds: float = 5.0
    session_seconds: int = 3600


def check_providers(providers: Mapping[str, ProviderSettings]) -> None:
    """Refuse what would be open to guessing, or would let nobody in. Raises SetupError."""
    secrets: dict[str, str] = {}
    for name, provider in providers.items():
        where = f"providers.{name}"
        if not _NAME(name):
            raise SetupError(f"{where}: a provider's name has up to 32 small letters, digits, '_' and '-'")
        if not 1 <= len(provider.keys) <= KEYS_MAX:
            raise SetupError(f"{where}.keys: one key, or {KEYS_MAX} while they change; not {len(provider.keys)}")
        for key_id, secret in provider.keys.items():
            if not _KEY_ID(key_id):
                raise SetupError(f"{where}.keys: {key_id!r}: a key's id has up to 64 letters, digits, '_', '.' and '-'")
            if len(secret) < SECRET_CHARS_MIN:
                raise SetupError(f"{where}.keys.{key_id}: a secret has at least {SECRET_CHARS_MIN} random characters")
            if secret in secrets:
                raise SetupError(f"{where}.keys.{key_id} is the same secret as {secrets[secret]}: make them differ")
            secrets[secret] = f"{where}.keys.{key_id}"
        if not provider.assets:
            raise SetupError(f"{where}.assets is empty: name the assets that its games are played in")
        if not networks(name, provider):
            raise SetupError(f"{where}.allow_ips is empty: name the addresses or networks that it calls from")
        for key in ("window_seconds", "deadline_seconds", "session_seconds"):
            if not 0 < getattr(provider, key) < math.inf:
                raise SetupError(f"{where}.{key}: {getattr(provider, key)} must be above zero")


def networks(name: str, provider: ProviderSettings) -> list[Network]:
    """The networks that a provider may call from. Raises SetupError."""
    found: list[Network] = []
    for text in provider.allow_ips:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise SetupError(f"providers.{name}.allow_ips: {error}") from None
    return found


def open_to_all(providers: Mapping[str, ProviderSettings]) -> list[str]:
    """The providers that may call from any address."""
    return [
        name
        for name, provider in providers.items()
        if any(network.prefixlen == 0 for network in networks(name, provider))
    ]
