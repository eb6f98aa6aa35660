"""Steam: tickets of the Steam client, and friends."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from palestra.core.log import get_logger
from palestra.core.social_settings import SteamSettings
from palestra.features.identity import rules
from palestra.features.identity.contract import FriendsHidden, NotConfigured, Profile
from palestra.features.identity.rules import Untrue
from palestra.features.identity.tokens import refused
from palestra.gateway.outgoing import Answer, Outgoing, ProviderAway

TICKET_PATH = "/ISteamUserAuth/AuthenticateUserTicket/v1/"
FRIENDS_PATH = "/ISteamUser/GetFriendList/v1/"
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){1,4096}").fullmatch

log = get_logger(__name__)


class TicketError(msgspec.Struct):
    """Why a ticket is refused."""

    errorcode: int = 0


class TicketOwner(msgspec.Struct):
    """Whose a ticket is."""

    result: str = ""
    steamid: str = ""


class TicketResponse(msgspec.Struct):
    """One of the two."""

    params: TicketOwner = msgspec.field(default_factory=TicketOwner)
    error: TicketError = msgspec.field(default_factory=TicketError)


class TicketAnswer(msgspec.Struct):
    """The envelope of it."""

    response: TicketResponse


class Person(msgspec.Struct):
    """A friend."""

    steamid: str


class FriendList(msgspec.Struct):
    """All friends."""

    friends: list[Person] = []


class FriendsAnswer(msgspec.Struct):
    """The envelope of it; empty when there are none."""

    friendslist: FriendList = msgspec.field(default_factory=FriendList)


T = TypeVar("T")


class Steam:
    """Implements `FriendSource`."""

    name = "Steam"

    def __init__(self, settings: SteamSettings, outgoing: Outgoing) -> None:
        self.configured = bool(settings.app_id and settings.publisher_key)
        self._settings = settings
        self._outgoing = outgoing

    async def verify(self, proof: str, nonce: str = "") -> Profile:
        """See Provider.verify; a ticket has no nonce."""
        if not self.configured:
            raise NotConfigured(self.name)
        try:
            if not _HEX(proof):
                raise Untrue("not a ticket in hex digits")
            query = {"key": self._settings.publisher_key, "appid": self._settings.app_id, "ticket": proof}
            if self._settings.identity:
                query["identity"] = self._settings.identity
            answer = await self._outgoing.get(self.name, self._settings.api_url + TICKET_PATH, query)
            if answer.status == 400:
                raise Untrue("Steam cannot read it")
            found = self._read(answer, TicketAnswer).response
            if found.params.result != "OK":
                raise Untrue(f"Steam says {found.error.errorcode}")
            return Profile(rules.player_id(found.params.steamid))
        except Untrue as error:
            raise refused(self.name, error) from None

    async def friends(self, proof: str, player: Profile) -> list[str]:
        """See FriendSource.friends."""
        query = {"key": self._settings.publisher_key, "steamid": player.id, "relationship": "friend"}
        answer = await self._outgoing.get(self.name, self._settings.api_url + FRIENDS_PATH, query)
        if answer.status == 401:
            raise FriendsHidden(self.name)
        return [friend.steamid for friend in self._read(answer, FriendsAnswer).friendslist.friends]

    def _read(self, answer: Answer, kind: type[T]) -> T:
        if answer.status != 200:
            # Steam takes a wrong key for our mistake, not the player's.
            log.error("Steam refuses this node; is social.steam.publisher_key right?", status=answer.status)
            raise ProviderAway(self.name)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (ValueError, RecursionError):
            log.warning("an answer of Steam cannot be read")
            raise ProviderAway(self.name) from None
