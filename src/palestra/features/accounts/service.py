"""Log-in, profiles, bans and deletion."""

from __future__ import annotations

import asyncio
import os
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from palestra.core.encoded import Watch
from palestra.core.errors import InvalidArgument, PalestraError
from palestra.core.events import EventBus
from palestra.core.ids import new_id
from palestra.core.log import get_logger
from palestra.features.accounts import rules
from palestra.features.accounts.contract import (
    Account,
    AccountBanned,
    AccountDeleted,
    AccountExport,
    AccountNotFound,
    AccountRemoved,
    CreationFailed,
    IdentityKind,
    InvalidCredentials,
    UserBanned,
    UserRecord,
)
from palestra.features.accounts.exports import Exports
from palestra.features.accounts.passwords import Passwords
from palestra.features.accounts.store import AccountStore, Login, NewAccount, canonical_ids
from palestra.features.identity.contract import Profile
from palestra.features.sessions.contract import Sessions, TokenPair
from palestra.features.streams.contract import STATUS, Member, Presences, Stream

NAME_LETTERS = string.ascii_letters
NAME_LENGTH = 10
_encode = msgspec.json.Encoder().encode
log = get_logger(__name__)


class ProviderLogin(NamedTuple):
    """What came of a log-in by a provider."""

    tokens: TokenPair
    created: bool
    user_id: str
    username: str


class AccountService:
    """Implements `Accounts` and `Users`."""

    def __init__(
        self,
        store: AccountStore,
        sessions: Sessions,
        passwords: Passwords,
        events: EventBus,
        presences: Presences,
        exports: Exports,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._passwords = passwords
        self._events = events
        self._presences = presences
        self._exports = exports
        presences.watch(STATUS, self._status_moved)

    # -- log-in

    async def authenticate(
        self, kind: IdentityKind, text: str, username: str, create: bool, vars: dict[str, str]
    ) -> tuple[TokenPair, bool]:
        """Log in by a valid device or custom id, making the player if `create` allows: (tokens, was made).

        Raises AccountNotFound, AccountBanned, UsernameTaken, CreationFailed.
        """
        login, created = await self._find_or_make(kind, text, username, create)
        return self._tokens(login, vars), created

    async def authenticate_profile(
        self, kind: IdentityKind, profile: Profile, username: str, create: bool, vars: dict[str, str]
    ) -> ProviderLogin:
        """Log in somebody whom a provider vouches for; what it tells of them is taken over as far as it fits.

        Raises what `authenticate` raises.
        """
        login, created = await self._find_or_make(kind, profile.id, username, create)
        tokens = self._tokens(login, vars)
        if created or kind is IdentityKind.GOOGLE:
            await self._take_over(login.user_id, profile, created)
        return ProviderLogin(tokens, created, login.user_id, login.username)

    async def _take_over(self, user_id: str, profile: Profile, created: bool) -> None:
        name = rules.from_provider(profile.display_name, rules.PROVIDER_NAME_BYTES_MAX)
        avatar = rules.from_provider(profile.avatar_url, rules.PROVIDER_AVATAR_BYTES_MAX)
        email = rules.email_from_provider(profile.email) if created else ""
        if name is None and avatar is None and not email:
            return
        try:
            await self._store.fill_profile(user_id, name, avatar, email)
        except PalestraError as error:
            # The player is logged in; a name that is missing is no reason to send them away.
            log.warning("what a provider tells of a player was not kept", reason=error.message)

    async def authenticate_email(
        self, address: str, password: str, username: str, create: bool, vars: dict[str, str]
    ) -> tuple[TokenPair, bool]:
        """Log in by e-mail address and password, making the player if `create` allows.

        Raises what `authenticate` raises, and InvalidCredentials.
        """
        lookup = self._store.lookup(IdentityKind.EMAIL, address)
        login: Login | None = await self._store.find(IdentityKind.EMAIL, lookup)
        if login is None:
            if not create:
                raise AccountNotFound
            hashed = await self._passwords.hash(password)
            login, created = await self._make(IdentityKind.EMAIL, address, lookup, username, hashed)
            if created:
                return self._tokens(login, vars), True
        # Who came second with a new address is who logs in to it: with the right password or not at all.
        if not await self._passwords.matches(login.password_hash, password):
            raise InvalidCredentials
        return self._tokens(login, vars), False

    async def authenticate_username(self, username: str, password: str, vars: dict[str, str]) -> TokenPair:
        """Log in by name and password; never makes a player. Raises AccountNotFound, InvalidCredentials."""
        login = await self._store.find_username(username)
        if login is None:
            raise AccountNotFound
        if not await self._passwords.matches(login.password_hash, password):
            raise InvalidCredentials
        return self._tokens(login, vars)

    async def _find_or_make(self, kind: IdentityKind, text: str, username: str, create: bool) -> tuple[Login, bool]:
        lookup = self._store.lookup(kind, text)
        login: Login | None = await self._store.find(kind, lookup)
        if login is not None:
            return login, False
        if not create:
            raise AccountNotFound
        return await self._make(kind, text, lookup, username, None)

    async def _make(
        self, kind: IdentityKind, text: str, lookup: bytes, username: str, password_hash: str | None
    ) -> tuple[Login, bool]:
        """A new player; or the one who came first with this identifier, usually the same device trying twice."""
        user_id = new_id()
        name = username or random_name()
        sealed = self._store.seal(kind, user_id, lookup, text)
        if await self._store.create(NewAccount(user_id, name, kind, lookup, sealed, password_hash)):
            return Login(user_id, name, False, password_hash), True
        login: Login | None = await self._store.find(kind, lookup)
        if login is None:
            raise CreationFailed
        return login, False

    def _tokens(self, login: Login, vars: dict[str, str]) -> TokenPair:
        if login.banned:
            raise AccountBanned
        return self._sessions.issue(login.user_id, login.username, vars)

    # -- reading

    async def get(self, user_id: str) -> Account:
        """A player's account. Raises AccountNotFound."""
        account: Account | None = await self._store.read_own(user_id)
        if account is None:
            raise AccountNotFound("Account not found.")
        user = self._seen(account.user)
        return account if user is account.user else replace(account, user=user)

    async def export(self, user_id: str) -> AccountExport:
        """Everything about a player. Raises AccountNotFound, ExportsBusy."""
        (user_id,) = _canonical([user_id])
        return await self._exports.make(user_id)

    async def get_many(self, ids: Iterable[str], *, fresh: bool = False) -> list[UserRecord]:
        """The players with these ids, unknown ones absent."""
        wanted = tuple(ids)
        if not wanted:
            return []
        found = await self._store.read(wanted) if fresh else (await self._store.read_cached(wanted)).values()
        return [self._seen(user) for user in found] if self._presences.of_mode(STATUS) else list(found)

    async def get_watched(self, ids: Iterable[str]) -> tuple[list[UserRecord], Watch | None]:
        """See Users.get_watched."""
        wanted = tuple(ids)
        users = await self.get_many(wanted)
        held = self._store.hold(wanted)
        if held is None:
            return users, None
        return [self._seen(user) for user in held.values], held

    def _status_moved(self, stream: Stream, joins: Sequence[Member], leaves: Sequence[Member]) -> None:
        """A player may have come online, or have gone."""
        self._store.renew(stream.subject)

    def _seen(self, user: UserRecord) -> UserRecord:
        """A record as it is now: players are online while they show a status."""
        return user.as_online if self._presences.visible(Stream(STATUS, user.id)) else user

    async def ids_of_usernames(self, usernames: Iterable[str]) -> dict[str, str]:
        """Username → id of those that exist."""
        return await self._store.ids_of_usernames(usernames)

    async def ids_of_identities(self, kind: IdentityKind, texts: Iterable[str]) -> list[str]:
        """The players behind identifiers of a kind, unknown ones absent."""
        found = await asyncio.gather(*[self._store.find(kind, self._store.lookup(kind, text)) for text in texts])
        return [login.user_id for login in found if login is not None]

    async def username_for_login(self, user_id: str) -> str | None:
        """The present name of a player who may log in."""
        found = await self._store.read((user_id,))
        if not found:
            return None
        (user,) = found
        if user.disabled_at is not None:
            raise AccountBanned
        return user.username

    # -- changing

    async def update(
        self,
        user_id: str,
        *,
        username: str | None = None,
        display_name: str | None = None,
        avatar_url: str | None = None,
        lang_tag: str | None = None,
        location: str | None = None,
        timezone: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given. Raises UsernameTaken, InvalidArgument."""
        changes = rules.profile(
            {
                "username": username,
                "display_name": display_name,
                "avatar_url": avatar_url,
                "lang_tag": lang_tag,
                "location": location,
                "timezone": timezone,
            }
        )
        if metadata is not None:
            changes["metadata"] = _encode(metadata).decode()
        if not changes:
            raise InvalidArgument("No fields to update.")
        await self._store.update(user_id, changes)

    async def delete(self, user_id: str) -> None:
        """Delete a player; everything that is theirs goes in one transaction, then tokens and sockets end."""
        (user_id,) = _canonical([user_id])
        async with self._store.database.transaction() as tx:
            await self._events.publish(AccountDeleted(user_id, tx))
            await self._store.delete(tx, user_id)
        await self._sessions.revoke_for_good(user_id)
        await self._events.publish(AccountRemoved(user_id))

    async def ban(self, user_ids: Iterable[str]) -> None:
        """Lock players out. Raises AccountNotFound for what is no id; unknown ones are passed over."""
        for user_id in await self._store.set_disabled(_canonical(user_ids), True):
            await self._sessions.revoke_for_good(user_id)
            await self._events.publish(UserBanned(user_id))

    async def unban(self, user_ids: Iterable[str]) -> None:
        """Let banned players in again. Raises AccountNotFound for what is no id; unknown ones are passed over."""
        for user_id in await self._store.set_disabled(_canonical(user_ids), False):
            await self._sessions.readmit(user_id)

    async def add_edges(self, tx: Any, changes: Mapping[str, int]) -> None:
        """Change edge counters in the caller's transaction."""
        await self._store.add_edges(tx, changes)


def _canonical(user_ids: Iterable[str]) -> list[str]:
    try:
        return canonical_ids(user_ids)
    except ValueError:
        raise AccountNotFound from None


def random_name() -> str:
    """A name for a player who gave none: ten random letters from one draw of 64 random bits."""
    number = int.from_bytes(os.urandom(8), "big")
    letters = []
    for _ in range(NAME_LENGTH):
        number, place = divmod(number, len(NAME_LETTERS))
        letters.append(NAME_LETTERS[place])
    return "".join(letters)
