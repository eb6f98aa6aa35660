"""`[social]`: the outside providers whose word this node takes for who a player is."""

from __future__ import annotations

import msgspec


class AppleSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.apple]`: Sign in with Apple."""

    bundle_ids: tuple[str, ...] = ()
    issuer: str = "https://appleid.apple.com"
    keys_url: str = "https://appleid.apple.com/auth/keys"


class GoogleSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.google]`: Google sign-in by ID token."""

    client_ids: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ("https://accounts.google.com", "accounts.google.com")
    keys_url: str = "https://www.googleapis.com/oauth2/v3/certs"


class FacebookSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.facebook]`: classic log-in (needs the secret) and limited log-in."""

    app_id: str = ""
    app_secret: str = ""
    graph_url: str = "https://graph.facebook.com"
    issuers: tuple[str, ...] = ("https://www.facebook.com", "https://limited.facebook.com")
    keys_url: str = "https://limited.facebook.com/.well-known/oauth/openid/jwks/"


class FacebookInstantSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.facebook_instant]`: instant games on Facebook."""

    app_secret: str = ""


class GameCenterSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.game_center]`: Apple's Game Center."""

    bundle_ids: tuple[str, ...] = ()
    key_host: str = "gc.apple.com"
    signature_seconds_max: float = 3600.0


class SteamSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.steam]`: tickets of the Steam client."""

    app_id: str = ""
    publisher_key: str = ""
    identity: str = ""
    api_url: str = "https://partner.steam-api.com"


class OpenIdSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social.oidc.NAME]`: an OpenID Connect issuer of one's own choice."""

    issuer: str
    audiences: tuple[str, ...]
    keys_url: str = ""


class SocialSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[social]`: log-in by outside providers. A provider without its ids or secrets is not configured."""

    timeout_seconds: float = 5.0
    nonce_required: bool = False
    loopback_http: bool = False
    apple: AppleSettings = AppleSettings()
    google: GoogleSettings = GoogleSettings()
    facebook: FacebookSettings = FacebookSettings()
    facebook_instant: FacebookInstantSettings = FacebookInstantSettings()
    game_center: GameCenterSettings = GameCenterSettings()
    steam: SteamSettings = SteamSettings()
    oidc: dict[str, OpenIdSettings] = {}
