"""Facebook: classic log-in by access token, limited log-in by ID token, and friends who play as well."""

from __future__ import annotations

import hmac
from typing import TypeVar

import msgspec

from palestra.core.clock import Clock
from palestra.core.log import get_logger
from palestra.core.social_settings import FacebookSettings
from palestra.features.identity import rules
from palestra.features.identity.contract import NotConfigured, Profile
from palestra.features.identity.rules import Untrue
from palestra.features.identity.tokens import IdTokens, refused
from palestra.gateway.outgoing import Outgoing, ProviderAway

PAGES_MAX = 10
PAGE_FRIENDS = "500"
PASSING_ERRORS = (1, 2, 4, 17, 341)
"""Codes that mean "later": something is wrong there, or the app asked too often."""

log = get_logger(__name__)


class GraphError(msgspec.Struct):
    """Why the graph refuses."""

    code: int = 0
    is_transient: bool = False


class Failure(msgspec.Struct):
    """A refusal of the graph."""

    error: GraphError = msgspec.field(default_factory=GraphError)


class Inspected(msgspec.Struct):
    """What an access token is: whose, for which app, until when (unix seconds, 0 for no end)."""

    app_id: str = ""
    user_id: str = ""
    is_valid: bool = False
    expires_at: float = 0


class Inspection(msgspec.Struct):
    """The envelope of it."""

    data: Inspected


class PictureData(msgspec.Struct):
    """Where a picture is."""

    url: str = ""


class Picture(msgspec.Struct):
    """The envelope of it."""

    data: PictureData = msgspec.field(default_factory=PictureData)


class Me(msgspec.Struct):
    """Whose a token is."""

    id: str
    name: str = ""
    email: str = ""
    picture: Picture = msgspec.field(default_factory=Picture)


class Person(msgspec.Struct):
    """A friend."""

    id: str


class Cursors(msgspec.Struct):
    """Where the next page starts."""

    after: str = ""


class Paging(msgspec.Struct):
    """Whether there is a next page; its address holds the token and is not used."""

    cursors: Cursors = msgspec.field(default_factory=Cursors)
    next: str = ""


class FriendPage(msgspec.Struct):
    """Friends who use the app as well."""

    data: list[Person] = []
    paging: Paging = msgspec.field(default_factory=Paging)


T = TypeVar("T")


class Facebook:
    """Implements `FriendSource`. Access tokens have no dot, ID tokens have two."""

    name = "Facebook"

    def __init__(self, settings: FacebookSettings, limited: IdTokens, outgoing: Outgoing, clock: Clock) -> None:
        self.configured = bool(settings.app_id)
        self._settings = settings
        self._limited = limited
        self._outgoing = outgoing
        self._clock = clock

    async def verify(self, proof: str, nonce: str = "") -> Profile:
        """See Provider.verify; the nonce belongs to limited log-in."""
        if not self.configured:
            raise NotConfigured(self.name)
        if "." in proof:
            claims = await self._limited.verify(proof, nonce)
            return Profile(claims.sub, claims.name or "", claims.picture or "", claims.email or "")
        if not self._settings.app_secret:
            raise NotConfigured("Classic Facebook")
        me = await self._me(proof)
        return Profile(me.id, me.name, me.picture.data.url, me.email)

    async def friends(self, proof: str, player: Profile) -> list[str]:
        """See FriendSource.friends. A token of limited log-in opens nothing of the kind."""
        if "." in proof or not self._settings.app_secret:
            raise refused(self.name, Untrue("a token without access to friends"))
        found: list[str] = []
        query = {"fields": "id", "limit": PAGE_FRIENDS}
        for _ in range(PAGES_MAX):
            page = await self._graph("me/friends", FriendPage, {**query, **self._access(proof)})
            found += [person.id for person in page.data]
            if not page.paging.next or not page.paging.cursors.after:
                break
            query["after"] = page.paging.cursors.after
        return found

    async def _me(self, token: str) -> Me:
        """Whose token it is, if it was made for this app and is valid."""
        app_token = f"{self._settings.app_id}|{self._settings.app_secret}"
        query = {"input_token": token, "access_token": app_token}
        token_is = (await self._graph("debug_token", Inspection, query)).data
        try:
            if not token_is.is_valid or token_is.app_id != self._settings.app_id:
                raise Untrue("not valid for this app")
            if token_is.expires_at and token_is.expires_at <= self._clock.now():
                raise Untrue("expired")
            fields = {"fields": "id,name,email,picture"}
            me = await self._graph("me", Me, {**fields, **self._access(token)})
            if rules.player_id(me.id) != token_is.user_id:
                raise Untrue("about two people")
        except Untrue as error:
            raise refused(self.name, error) from None
        return me

    def _access(self, token: str) -> dict[str, str]:
        """A token, and the proof that whoever uses it has the app's secret."""
        proof = hmac.digest(self._settings.app_secret.encode(), token.encode(), "sha256").hex()
        return {"access_token": token, "appsecret_proof": proof}

    async def _graph(self, path: str, kind: type[T], query: dict[str, str]) -> T:
        if len(query.get("input_token", "")) > rules.TOKEN_BYTES_MAX:
            raise refused(self.name, Untrue("too long for an access token"))
        answer = await self._outgoing.get(self.name, f"{self._settings.graph_url}/{path}", query)
        try:
            if answer.status == 200:
                return msgspec.json.decode(answer.body, type=kind)
            error = msgspec.json.decode(answer.body, type=Failure).error
        except (ValueError, RecursionError):
            log.warning("an answer of Facebook cannot be read", path=path, status=answer.status)
            raise ProviderAway(self.name) from None
        if error.is_transient or error.code in PASSING_ERRORS:
            raise ProviderAway(self.name)
        raise refused(self.name, Untrue(f"the graph says {answer.status}, code {error.code}"))
