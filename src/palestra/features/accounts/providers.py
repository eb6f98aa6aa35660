"""Log-in by outside providers: what a request must carry, and the plain word that no provider is configured.

Tokens of a provider are never taken on trust: as long as this node cannot verify them, every such log-in is refused.
"""

from __future__ import annotations

from typing import Any

from palestra.core.errors import FailedPrecondition, InvalidArgument
from palestra.features.accounts import wire
from palestra.features.accounts.contract import IdentityKind, LastIdentity
from palestra.features.accounts.linking import Linking
from palestra.features.accounts.store import AccountStore
from palestra.gateway.operation import Call

GAMECENTER_FIELDS = (
    ("bundle_id", "bundle ID"),
    ("player_id", "player ID"),
    ("public_key_url", "public key URL"),
    ("salt", "salt"),
    ("signature", "signature"),
    ("timestamp_seconds", "timestamp"),
)
REQUIRED_TOKEN = {
    IdentityKind.FACEBOOK: "Facebook access token is required.",
    IdentityKind.GOOGLE: "Google access token is required.",
    IdentityKind.APPLE: "Apple ID token is required.",
    IdentityKind.STEAM: "Steam access token is required.",
}
NAMES = {
    IdentityKind.APPLE: "Apple",
    IdentityKind.FACEBOOK: "Facebook",
    IdentityKind.FACEBOOK_INSTANT: "Facebook Instant Game",
    IdentityKind.GAMECENTER: "GameCenter",
    IdentityKind.GOOGLE: "Google",
    IdentityKind.STEAM: "Steam",
}
CONFIGURATION_FIRST = (IdentityKind.APPLE, IdentityKind.STEAM)
"""Providers whose missing configuration is told before a missing token, at log-in."""


def _not_configured(kind: IdentityKind) -> FailedPrecondition:
    return FailedPrecondition(f"{NAMES[kind]} authentication is not configured.")


class ProviderRoutes:
    """The operations of one provider."""

    def __init__(self, kind: IdentityKind, linking: Linking, store: AccountStore) -> None:
        self._kind = kind
        self._linking = linking
        self._store = store

    async def authenticate(self, call: Call, request: Any) -> None:
        """Check the request; refuse, since the provider is not configured."""
        if self._kind in CONFIGURATION_FIRST:
            raise _not_configured(self._kind)
        self._require(request.account)
        raise _not_configured(self._kind)

    async def link(self, call: Call, request: Any) -> None:
        """Check the request; refuse, since the provider is not configured."""
        self._require(request.account if isinstance(request, wire.LinkSteam) else request)
        raise _not_configured(self._kind)

    async def unlink(self, call: Call, request: Any) -> None:
        """Remove the identifier; one that is named by a token cannot be compared without the provider."""
        if any(getattr(request, name, "") for name in ("token", "signed_player_info", "signature")):
            user = await self._store.read(call.player.user_id)
            if user is None or not user.identity(self._kind):
                raise LastIdentity
            raise _not_configured(self._kind)
        await self._linking.unlink(call.player.user_id, self._kind, None)

    def _require(self, account: Any) -> None:
        if self._kind is IdentityKind.GAMECENTER:
            for field, word in GAMECENTER_FIELDS:
                if not getattr(account, field):
                    raise InvalidArgument(f"GameCenter {word} is required.")
        elif self._kind is IdentityKind.FACEBOOK_INSTANT:
            if not account.signed_player_info:
                raise InvalidArgument("Signed Player Info for a Facebook Instant Game is required.")
        elif not account.token:
            raise InvalidArgument(REQUIRED_TOKEN[self._kind])
