"""Providers that need no more than an ID token or a shared secret: Apple, Google, instant games, one's own issuers."""

from __future__ import annotations

from collections.abc import Mapping

from palestra.core.clock import Clock
from palestra.features.identity import rules
from palestra.features.identity.contract import OPEN_ID_PREFIX, NotConfigured, Profile
from palestra.features.identity.rules import Untrue
from palestra.features.identity.tokens import IdTokens, refused


class TokenProvider:
    """A provider of the contract whose players bring an ID token: Apple, Google."""

    def __init__(self, name: str, tokens: IdTokens, configured: bool) -> None:
        self.name = name
        self.configured = configured
        self._tokens = tokens

    async def verify(self, proof: str, nonce: str = "") -> Profile:
        """See Provider.verify."""
        if not self.configured:
            raise NotConfigured(self.name)
        claims = await self._tokens.verify(proof, nonce)
        return Profile(claims.sub, claims.name or "", claims.picture or "", claims.verified_email)


class FacebookInstant:
    """Instant games: player info signed with the secret of the app."""

    name = "Facebook Instant Game"

    def __init__(self, app_secret: str, clock: Clock) -> None:
        self.configured = bool(app_secret)
        self._app_secret = app_secret
        self._clock = clock

    async def verify(self, proof: str, nonce: str = "") -> Profile:
        """See Provider.verify; there is no nonce."""
        if not self.configured:
            raise NotConfigured(self.name)
        try:
            return Profile(rules.instant_player(proof, self._app_secret, self._clock.now()))
        except Untrue as error:
            raise refused(self.name, error) from None


class OpenId:
    """Issuers by the names that the operator gave them. Implements `OpenIdIssuers`."""

    def __init__(self, issuers: Mapping[str, IdTokens]) -> None:
        self._issuers = issuers

    async def custom_id(self, text: str, nonce: str = "") -> str:
        """See OpenIdIssuers.custom_id."""
        try:
            name, token = rules.open_id_parts(text)
        except Untrue as error:
            raise refused("OpenID", error) from None
        if name not in self._issuers:
            raise NotConfigured("OpenID")
        claims = await self._issuers[name].verify(token, nonce)
        return f"{OPEN_ID_PREFIX}{name}:{claims.sub}"
