"""Accounts: table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from palestra.features.accounts import wire
from palestra.features.accounts.contract import IdentityKind
from palestra.features.accounts.providers import IdentityRoutes
from palestra.features.accounts.routes import AccountRoutes
from palestra.features.accounts.store import SQL
from palestra.gateway.operation import Auth, Operation

ACCOUNT = "/v2/account"
DEVICE_IN = "/v2/account/authenticate/device"
CUSTOM_IN = "/v2/account/authenticate/custom"
EMAIL_IN = "/v2/account/authenticate/email"
KEY, SESSION = Auth.SERVER_KEY, Auth.SESSION


def operations(routes: AccountRoutes) -> list[Operation]:
    """HTTP operations on accounts, and log-in by what a player brings along."""
    r = routes
    return [
        Operation("accounts.get", "GET", ACCOUNT, SESSION, r.get),
        Operation("accounts.update", "PUT", ACCOUNT, SESSION, r.update, wire.UpdateRequest, "*"),
        Operation("accounts.delete", "DELETE", ACCOUNT, SESSION, r.delete),
        Operation("accounts.export", "GET", "/v2/palestra/account/export", SESSION, r.export),
        Operation("users.get", "GET", "/v2/user", SESSION, r.users, wire.UsersRequest),
        Operation("accounts.authenticate_device", "POST", DEVICE_IN, KEY, r.authenticate_device, wire.AuthenticateId, "account"),
        Operation("accounts.authenticate_custom", "POST", CUSTOM_IN, KEY, r.authenticate_custom, wire.AuthenticateId, "account"),
        Operation("accounts.authenticate_email", "POST", EMAIL_IN, KEY, r.authenticate_email, wire.AuthenticateEmail, "account"),
        Operation("accounts.link_device", "POST", "/v2/account/link/device", SESSION, r.link_device, wire.IdAccount, "*"),
        Operation("accounts.link_custom", "POST", "/v2/account/link/custom", SESSION, r.link_custom, wire.IdAccount, "*"),
        Operation("accounts.link_email", "POST", "/v2/account/link/email", SESSION, r.link_email, wire.EmailAccount, "*"),
        Operation("accounts.unlink_device", "POST", "/v2/account/unlink/device", SESSION, r.unlink_device, wire.IdAccount, "*"),
        Operation("accounts.unlink_custom", "POST", "/v2/account/unlink/custom", SESSION, r.unlink_custom, wire.IdAccount, "*"),
        Operation("accounts.unlink_email", "POST", "/v2/account/unlink/email", SESSION, r.unlink_email, wire.EmailAccount, "*"),
    ]  # fmt: skip


def provider_operations(routes: Mapping[IdentityKind, IdentityRoutes]) -> list[Operation]:
    """Log-in, link and unlink of the outside providers."""
    apple, facebook = routes[IdentityKind.APPLE], routes[IdentityKind.FACEBOOK]
    instant, center = routes[IdentityKind.FACEBOOK_INSTANT], routes[IdentityKind.GAMECENTER]
    google, steam = routes[IdentityKind.GOOGLE], routes[IdentityKind.STEAM]
    token, info, proof = wire.AuthenticateToken, wire.AuthenticateInstantGame, wire.AuthenticateGameCenter
    one_token, one_info, one_proof = wire.TokenAccount, wire.InstantGameAccount, wire.GameCenterAccount
    return [
        Operation("accounts.authenticate_apple", "POST", "/v2/account/authenticate/apple", KEY, apple.authenticate, token, "account"),
        Operation("accounts.authenticate_facebook", "POST", "/v2/account/authenticate/facebook", KEY, facebook.authenticate, token, "account"),
        Operation("accounts.authenticate_facebook_instant", "POST", "/v2/account/authenticate/facebookinstantgame", KEY, instant.authenticate, info, "account"),
        Operation("accounts.authenticate_gamecenter", "POST", "/v2/account/authenticate/gamecenter", KEY, center.authenticate, proof, "account"),
        Operation("accounts.authenticate_google", "POST", "/v2/account/authenticate/google", KEY, google.authenticate, token, "account"),
        Operation("accounts.authenticate_steam", "POST", "/v2/account/authenticate/steam", KEY, steam.authenticate, token, "account"),
        Operation("accounts.link_apple", "POST", "/v2/account/link/apple", SESSION, apple.link, one_token, "*"),
        Operation("accounts.link_facebook", "POST", "/v2/account/link/facebook", SESSION, facebook.link, wire.LinkFacebook, "account"),
        Operation("accounts.link_facebook_instant", "POST", "/v2/account/link/facebookinstantgame", SESSION, instant.link, one_info, "*"),
        Operation("accounts.link_gamecenter", "POST", "/v2/account/link/gamecenter", SESSION, center.link, one_proof, "*"),
        Operation("accounts.link_google", "POST", "/v2/account/link/google", SESSION, google.link, one_token, "*"),
        Operation("accounts.link_steam", "POST", "/v2/account/link/steam", SESSION, steam.link, wire.LinkSteam, "*"),
        Operation("accounts.unlink_apple", "POST", "/v2/account/unlink/apple", SESSION, apple.unlink, one_token, "*"),
        Operation("accounts.unlink_facebook", "POST", "/v2/account/unlink/facebook", SESSION, facebook.unlink, one_token, "*"),
        Operation("accounts.unlink_facebook_instant", "POST", "/v2/account/unlink/facebookinstantgame", SESSION, instant.unlink, one_info, "*"),
        Operation("accounts.unlink_gamecenter", "POST", "/v2/account/unlink/gamecenter", SESSION, center.unlink, one_proof, "*"),
        Operation("accounts.unlink_google", "POST", "/v2/account/unlink/google", SESSION, google.unlink, one_token, "*"),
        Operation("accounts.unlink_steam", "POST", "/v2/account/unlink/steam", SESSION, steam.unlink, one_token, "*"),
    ]  # fmt: skip


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"account": SQL["export_account"]}
