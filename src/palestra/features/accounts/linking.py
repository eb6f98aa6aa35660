"""Attaching identifiers to a player and taking them away, one transaction each."""

from __future__ import annotations

import asyncpg

from palestra.features.accounts import rules
from palestra.features.accounts.contract import AccountNotFound, IdentityKind, IdentityTaken, LastIdentity
from palestra.features.accounts.passwords import Passwords
from palestra.features.accounts.store import SQL, AccountStore

TAKEN = {
    IdentityKind.DEVICE: "Device ID already in use.",
    IdentityKind.EMAIL: "Email is already in use.",
    IdentityKind.CUSTOM: "Custom ID is already in use.",
    IdentityKind.APPLE: "Apple ID is already in use.",
    IdentityKind.FACEBOOK: "Facebook ID is already in use.",
    IdentityKind.FACEBOOK_INSTANT: "Facebook Instant Game ID is already in use.",
    IdentityKind.GAMECENTER: "GameCenter ID is already in use.",
    IdentityKind.GOOGLE: "Google ID is already in use.",
    IdentityKind.STEAM: "Steam ID is already in use.",
}


class Linking:
    """The use cases of link and unlink. All lock the player's row first, so that a player's changes queue up."""

    def __init__(self, store: AccountStore, passwords: Passwords) -> None:
        self._store = store
        self._passwords = passwords

    async def link(self, user_id: str, kind: IdentityKind, text: str, password: str | None = None) -> None:
        """Attach a valid identifier; it replaces another of its kind, devices are added. Linking one's own is fine.

        Raises IdentityTaken, AccountNotFound.
        """
        hashed = await self._passwords.hash(password) if password is not None else None
        lookup = self._store.lookup(kind, text)
        try:
            async with self._store.database.transaction() as tx:
                await self._lock(tx, user_id)
                owner = await tx.fetchval(SQL["owner_of_identity"], kind, lookup)
                if owner not in (None, user_id):
                    raise IdentityTaken(TAKEN[kind])
                if owner is None:
                    if kind is not IdentityKind.DEVICE:
                        await tx.execute(SQL["remove_identities_of_kind"], user_id, kind)
                    sealed = self._store.seal(kind, user_id, lookup, text)
                    await tx.execute(SQL["add_identity"], kind, lookup, user_id, sealed)
                if hashed is not None:
                    await tx.execute(SQL["set_password"], user_id, hashed)
                await tx.execute(SQL["touch"], user_id)
        except asyncpg.UniqueViolationError:
            raise IdentityTaken(TAKEN[kind]) from None

    async def unlink(self, user_id: str, kind: IdentityKind, text: str | None) -> None:
        """Take an identifier away: the given one, or whatever there is of its kind; nothing there is fine.

        Raises LastIdentity when it is not the player's or no other would remain.
        """
        lookup = self._store.lookup(kind, text) if text else None
        async with self._store.database.transaction() as tx:
            has_password = await self._lock(tx, user_id)
            identities = [(row[0], row[1]) for row in await tx.fetch(SQL["identities_of"], user_id)]
            if not rules.may_unlink(identities, kind, lookup, has_password):
                raise LastIdentity
            if lookup is not None:
                await tx.execute(SQL["remove_identity"], user_id, kind, lookup)
            else:
                await tx.execute(SQL["remove_identities_of_kind"], user_id, kind)
            if kind is IdentityKind.EMAIL:
                await tx.execute(SQL["set_password"], user_id, None)
            await tx.execute(SQL["touch"], user_id)

    async def _lock(self, tx: asyncpg.Connection, user_id: str) -> bool:
        """Hold the player's row, which is about to be changed; whether they have a password."""
        self._store.changes(tx, (user_id,))
        has_password: bool | None = await tx.fetchval(SQL["lock_account"], user_id)
        if has_password is None:
            raise AccountNotFound
        return has_password
