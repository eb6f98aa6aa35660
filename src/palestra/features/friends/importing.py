"""Friends brought along from outside providers; implements the contract's `FriendImports`."""

from __future__ import annotations

from collections.abc import Mapping

from palestra.core.errors import InvalidArgument, PalestraError
from palestra.core.log import get_logger
from palestra.features.accounts.contract import IdentityKind, Users
from palestra.features.friends.contract import Friends
from palestra.features.identity.contract import FriendSource, NotConfigured, Profile

log = get_logger(__name__)


class FriendImport:
    """Asks a provider for a player's friends, and makes friends of those who play as well."""

    def __init__(self, friends: Friends, users: Users, sources: Mapping[IdentityKind, FriendSource]) -> None:
        self._friends = friends
        self._users = users
        self._sources = sources

    async def bring(self, kind: IdentityKind, token: str, nonce: str, user_id: str, username: str, reset: bool) -> None:
        """Import by a token of the provider; `reset` first ends what friendships and invitations there are.

        Raises InvalidArgument without a token, and what `FriendSource.verify` and `friends` raise.
        """
        source = self._sources[kind]
        if kind is IdentityKind.STEAM and not source.configured:
            raise NotConfigured(source.name)
        if not token:
            raise InvalidArgument(f"{source.name} token is required.")
        player = await source.verify(token, nonce)
        await self._import(kind, token, player, user_id, username, reset)

    async def follow(self, kind: IdentityKind, proof: str, player: Profile, user_id: str, username: str) -> None:
        """See FriendImports.follow."""
        try:
            await self._import(kind, proof, player, user_id, username, False)
        except PalestraError as error:
            log.info("friends were not imported", provider=self._sources[kind].name, reason=error.message)

    async def _import(
        self, kind: IdentityKind, proof: str, player: Profile, user_id: str, username: str, reset: bool
    ) -> None:
        source = self._sources[kind]
        known_there = await source.friends(proof, player)
        ids = await self._users.ids_of_identities(kind, dict.fromkeys(known_there))
        await self._friends.befriend(user_id, username, ids, source.name.lower(), reset)
