"""Account operations over HTTP."""

from __future__ import annotations

from typing import Any, cast

from palestra.core.errors import InvalidArgument
from palestra.features.accounts import rules, wire
from palestra.features.accounts.contract import AccountExport, IdentityKind, user_wire
from palestra.features.accounts.linking import Linking
from palestra.features.accounts.service import AccountService
from palestra.features.accounts.store import canonical_ids
from palestra.features.identity.contract import NONCE_VAR, OPEN_ID_PREFIX, OpenIdIssuers
from palestra.features.sessions.contract import SessionWire, TokenPair
from palestra.gateway.operation import Call


def session_wire(tokens: TokenPair, created: bool = False) -> SessionWire:
    """The answer to a log-in."""
    return SessionWire(created, tokens.token, tokens.refresh_token)


class AccountRoutes:
    """Decode, call, encode."""

    def __init__(self, accounts: AccountService, linking: Linking, issuers: OpenIdIssuers) -> None:
        self._accounts = accounts
        self._linking = linking
        self._issuers = issuers

    async def get(self, call: Call, request: object) -> wire.AccountWire:
        """The caller's account."""
        return wire.account_wire(await self._accounts.get(call.player.user_id))

    async def export(self, call: Call, request: object) -> AccountExport:
        """Everything about the caller."""
        return await self._accounts.export(call.player.user_id)

    async def update(self, call: Call, request: wire.UpdateRequest) -> None:
        """Change the caller's profile."""
        await self._accounts.update(
            call.player.user_id,
            username=request.username,
            display_name=request.display_name,
            avatar_url=request.avatar_url,
            lang_tag=request.lang_tag,
            location=request.location,
            timezone=request.timezone,
        )

    async def delete(self, call: Call, request: object) -> None:
        """Delete the caller; repeating it is fine."""
        await self._accounts.delete(call.player.user_id)

    async def users(self, call: Call, request: wire.UsersRequest) -> wire.UsersWire:
        """Players by id or username, each once."""
        try:
            ids = canonical_ids(request.ids)
        except ValueError as error:
            raise InvalidArgument(f"ID '{error}' is not a valid system ID.") from None
        if request.usernames:
            ids += (await self._accounts.ids_of_usernames(request.usernames)).values()
        if request.facebook_ids:
            ids += await self._accounts.ids_of_identities(IdentityKind.FACEBOOK, request.facebook_ids)
        found = await self._accounts.get_many(dict.fromkeys(ids))
        if call.unseen:
            return wire.UsersWire(cast(Any, [user.json for user in found]))
        return wire.UsersWire([user_wire(user) for user in found])

    # -- log-in

    async def authenticate_device(self, call: Call, request: wire.AuthenticateId) -> SessionWire:
        """Log in by device id."""
        return await self._authenticate(IdentityKind.DEVICE, rules.device_id(request.account.id), request)

    async def authenticate_custom(self, call: Call, request: wire.AuthenticateId) -> SessionWire:
        """Log in by custom id."""
        text = await self._custom_id(request.account)
        return await self._authenticate(IdentityKind.CUSTOM, text, request)

    async def _custom_id(self, account: wire.IdAccount, *, linking: bool = False) -> str:
        """A custom id as it is given, or what the issuer of the token in it vouches for."""
        if account.id.startswith(OPEN_ID_PREFIX):
            return await self._issuers.custom_id(account.id, account.vars.get(NONCE_VAR, ""))
        return rules.custom_id(account.id, linking=linking)

    async def _authenticate(self, kind: IdentityKind, text: str, request: wire.AuthenticateId) -> SessionWire:
        name = rules.username(request.username) if request.username else ""
        create = request.create is not False
        return session_wire(*await self._accounts.authenticate(kind, text, name, create, request.account.vars))

    async def authenticate_email(self, call: Call, request: wire.AuthenticateEmail) -> SessionWire:
        """Log in by e-mail address, or by username when no address is given."""
        account = request.account
        if account.email:
            rules.email_without_blanks(account.email)
            rules.email_form(account.email)
        rules.password(account.password)
        if not account.email:
            if not request.username:
                raise InvalidArgument("Username is required when email address is not supplied.")
            return session_wire(
                await self._accounts.authenticate_username(request.username, account.password, account.vars)
            )
        name = rules.username(request.username) if request.username else ""
        create = request.create is not False
        address = account.email.lower()
        return session_wire(
            *await self._accounts.authenticate_email(address, account.password, name, create, account.vars)
        )

    # -- link and unlink

    async def link_device(self, call: Call, request: wire.IdAccount) -> None:
        """Add a device."""
        await self._linking.link(call.player.user_id, IdentityKind.DEVICE, rules.device_id(request.id))

    async def link_custom(self, call: Call, request: wire.IdAccount) -> None:
        """Set the custom id."""
        text = await self._custom_id(request, linking=True)
        await self._linking.link(call.player.user_id, IdentityKind.CUSTOM, text)

    async def link_email(self, call: Call, request: wire.EmailAccount) -> None:
        """Set e-mail address and password."""
        if not request.email or not request.password:
            raise InvalidArgument("Email address and password is required.")
        rules.email_without_blanks(request.email)
        rules.password(request.password)
        rules.email_form(request.email)
        await self._linking.link(
            call.player.user_id, IdentityKind.EMAIL, request.email.lower(), password=request.password
        )

    async def unlink_device(self, call: Call, request: wire.IdAccount) -> None:
        """Remove a device."""
        if not request.id:
            raise InvalidArgument("A device ID must be supplied.")
        await self._linking.unlink(call.player.user_id, IdentityKind.DEVICE, request.id)

    async def unlink_custom(self, call: Call, request: wire.IdAccount) -> None:
        """Remove the custom id: the one named as the account shows it or by a token of its issuer, or any."""
        user_id, text = call.player.user_id, request.id
        if text.startswith(OPEN_ID_PREFIX) and (await self._accounts.get(user_id)).custom_id != text:
            text = await self._custom_id(request)
        await self._linking.unlink(user_id, IdentityKind.CUSTOM, text)

    async def unlink_email(self, call: Call, request: wire.EmailAccount) -> None:
        """Remove e-mail address and password."""
        await self._linking.unlink(call.player.user_id, IdentityKind.EMAIL, request.email.lower())
