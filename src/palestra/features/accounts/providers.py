"""Log-in, link and unlink by outside providers: what a request must carry, and whom it then speaks for."""

from __future__ import annotations

from typing import Any

from palestra.core.errors import InvalidArgument
from palestra.features.accounts import rules
from palestra.features.accounts.contract import IdentityKind, LastIdentity
from palestra.features.accounts.linking import Linking
from palestra.features.accounts.routes import session_wire
from palestra.features.accounts.service import AccountService
from palestra.features.friends.contract import FriendImports
from palestra.features.identity.contract import (
    NONCE_VAR,
    BadProof,
    GameCenterProof,
    NotConfigured,
    Profile,
    Provider,
)
from palestra.features.sessions.contract import SessionWire
from palestra.gateway.operation import Call

GAMECENTER_FIELDS = (
    ("bundle_id", "bundle ID"),
    ("player_id", "player ID"),
    ("public_key_url", "public key URL"),
    ("salt", "salt"),
    ("signature", "signature"),
    ("timestamp_seconds", "timestamp"),
)
REQUIRED = {
    IdentityKind.FACEBOOK: "Facebook access token is required.",
    IdentityKind.FACEBOOK_INSTANT: "Signed Player Info for a Facebook Instant Game is required.",
    IdentityKind.GOOGLE: "Google access token is required.",
    IdentityKind.APPLE: "Apple ID token is required.",
    IdentityKind.STEAM: "Steam access token is required.",
}
BAD_LOG_IN = {
    IdentityKind.FACEBOOK_INSTANT: "Error extracting the Facebook Instant Game player ID or validating the signature"
}
"""What is told of a bad proof at log-in, where it differs from the provider's own words."""
WITH_FRIENDS = (IdentityKind.FACEBOOK, IdentityKind.STEAM)
CONFIGURATION_BEFORE_LOG_IN = (IdentityKind.APPLE, IdentityKind.STEAM)
CONFIGURATION_BEFORE_LINK = (IdentityKind.APPLE,)
"""Providers whose missing configuration is told before a missing token."""


class IdentityRoutes:
    """The operations of one provider."""

    def __init__(
        self, kind: IdentityKind, provider: Provider, accounts: AccountService, linking: Linking, friends: FriendImports
    ) -> None:
        self._kind = kind
        self._provider = provider
        self._accounts = accounts
        self._linking = linking
        self._friends = friends

    async def authenticate(self, call: Call, request: Any) -> SessionWire:
        """Log in by what the provider gave the player."""
        account = request.account
        proof = self._required(account, CONFIGURATION_BEFORE_LOG_IN)
        name = rules.username(request.username) if request.username else ""
        profile = await self._verified(account, proof, BAD_LOG_IN.get(self._kind))
        create = request.create is not False
        login = await self._accounts.authenticate_profile(self._kind, profile, name, create, account.vars)
        if self._kind in WITH_FRIENDS and request.sync:
            await self._friends.follow(self._kind, proof, profile, login.user_id, login.username)
        return session_wire(login.tokens, login.created)

    async def link(self, call: Call, request: Any) -> None:
        """Attach the account at the provider; Facebook and Steam bring friends along unless that is not wanted."""
        brings_friends = self._kind in WITH_FRIENDS
        account = request.account if brings_friends else request
        proof = self._required(account, CONFIGURATION_BEFORE_LINK)
        profile = await self._verified(account, proof)
        player = call.player
        await self._linking.link(player.user_id, self._kind, profile.id)
        if brings_friends and request.sync is not False:
            await self._friends.follow(self._kind, proof, profile, player.user_id, player.username)

    async def unlink(self, call: Call, request: Any) -> None:
        """Remove the account at the provider: the one that is proved, or whichever there is."""
        user_id = call.player.user_id
        proof = self._proof(request)
        if not proof:
            await self._linking.unlink(user_id, self._kind, None)
            return
        # Without a link there is nothing to compare with, whatever the proof says.
        if not (await self._accounts.get(user_id)).user.identity(self._kind):
            raise LastIdentity
        profile = await self._verified(request, proof)
        await self._linking.unlink(user_id, self._kind, profile.id)

    async def _verified(self, account: Any, proof: Any, told_if_bad: str | None = None) -> Profile:
        try:
            return await self._provider.verify(proof, account.vars.get(NONCE_VAR, ""))
        except BadProof:
            if told_if_bad:
                raise BadProof(told_if_bad) from None
            raise

    def _required(self, account: Any, configuration_first: tuple[IdentityKind, ...]) -> Any:
        """The proof that a request carries. Raises NotConfigured, InvalidArgument."""
        if self._kind in configuration_first and not self._provider.configured:
            raise NotConfigured(self._provider.name)
        if self._kind is IdentityKind.GAMECENTER:
            for field, word in GAMECENTER_FIELDS:
                if not getattr(account, field):
                    raise InvalidArgument(f"GameCenter {word} is required.")
        proof = self._proof(account)
        if not proof:
            raise InvalidArgument(REQUIRED[self._kind])
        return proof

    def _proof(self, account: Any) -> Any:
        """What an account brings along to be verified; nothing when that is not complete."""
        if self._kind is IdentityKind.FACEBOOK_INSTANT:
            return account.signed_player_info
        if self._kind is not IdentityKind.GAMECENTER:
            return account.token
        if not all(getattr(account, field) for field, _ in GAMECENTER_FIELDS):
            return None
        return GameCenterProof(
            account.player_id,
            account.bundle_id,
            account.timestamp_seconds,
            account.salt,
            account.signature,
            account.public_key_url,
        )
