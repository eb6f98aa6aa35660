"""The outside providers of a node, built by hand from their settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from palestra.core.addresses import is_safe_url
from palestra.core.clock import Clock
from palestra.core.errors import SetupError
from palestra.core.social_settings import SocialSettings
from palestra.features.accounts.contract import IdentityKind
from palestra.features.identity.contract import FriendSource, OpenIdIssuers, Provider
from palestra.features.identity.facebook import Facebook
from palestra.features.identity.game_center import GameCenter
from palestra.features.identity.providers import FacebookInstant, OpenId, TokenProvider
from palestra.features.identity.steam import Steam
from palestra.features.identity.tokens import IdTokens, Trust
from palestra.gateway.outgoing import Outgoing

_ISSUER_NAME = re.compile(r"[a-z0-9_-]{1,32}").fullmatch


@dataclass(slots=True)
class Providers:
    """Who vouches for players, and the connections through which they are asked."""

    by_kind: dict[IdentityKind, Provider]
    friend_sources: dict[IdentityKind, FriendSource]
    open_id: OpenIdIssuers
    outgoing: Outgoing


def build_providers(settings: SocialSettings, clock: Clock) -> Providers:
    """Make them; nobody is asked yet. Raises SetupError for an address or a name that cannot be."""
    _check(settings)
    outgoing = Outgoing(settings.timeout_seconds, settings.loopback_http)

    def tokens(name: str, issuers: tuple[str, ...], audiences: tuple[str, ...], keys_url: str) -> IdTokens:
        return IdTokens(name, Trust(issuers, audiences, settings.nonce_required), keys_url, outgoing, clock)

    apple, google, facebook_ = settings.apple, settings.google, settings.facebook
    limited = tokens("Facebook", facebook_.issuers, (facebook_.app_id,), facebook_.keys_url)
    apple_tokens = tokens("Apple", (apple.issuer,), apple.bundle_ids, apple.keys_url)
    google_tokens = tokens("Google", google.issuers, google.client_ids, google.keys_url)
    facebook = Facebook(facebook_, limited, outgoing, clock)
    steam = Steam(settings.steam, outgoing)
    own = {name: tokens(name, (one.issuer,), one.audiences, one.keys_url) for name, one in settings.oidc.items()}
    return Providers(
        by_kind={
            IdentityKind.APPLE: TokenProvider("Apple", apple_tokens, bool(apple.bundle_ids)),
            IdentityKind.FACEBOOK: facebook,
            IdentityKind.FACEBOOK_INSTANT: FacebookInstant(settings.facebook_instant.app_secret, clock),
            IdentityKind.GAMECENTER: GameCenter(settings.game_center, settings.loopback_http, outgoing, clock),
            IdentityKind.GOOGLE: TokenProvider("Google", google_tokens, bool(google.client_ids)),
            IdentityKind.STEAM: steam,
        },
        friend_sources={IdentityKind.FACEBOOK: facebook, IdentityKind.STEAM: steam},
        open_id=OpenId(own),
        outgoing=outgoing,
    )


def _check(settings: SocialSettings) -> None:
    addresses = {
        "social.apple.keys_url": settings.apple.keys_url,
        "social.google.keys_url": settings.google.keys_url,
        "social.facebook.keys_url": settings.facebook.keys_url,
        "social.facebook.graph_url": settings.facebook.graph_url,
        "social.steam.api_url": settings.steam.api_url,
    }
    for name, one in settings.oidc.items():
        if not _ISSUER_NAME(name):
            raise SetupError(f"social.oidc.{name}: a name is 1-32 small letters, digits, '-' and '_'")
        if not one.audiences:
            raise SetupError(f"social.oidc.{name}.audiences is empty: a token for any other service would do")
        addresses[f"social.oidc.{name}.issuer"] = one.issuer
        if one.keys_url:
            addresses[f"social.oidc.{name}.keys_url"] = one.keys_url
    for key, url in addresses.items():
        if not is_safe_url(url, settings.loopback_http):
            raise SetupError(f"{key} must be an https:// address; {url!r} is none")
