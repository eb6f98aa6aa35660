"""What others may know of outside providers: what they vouch for, and how they fail."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from palestra.core.errors import FailedPrecondition, Unauthenticated

NONCE_VAR = "nonce"
"""The session variable in which a client hands over the nonce of its ID token."""
OPEN_ID_PREFIX = "oidc:"
"""Custom ids that begin so are not taken as given: `oidc:NAME:` and a token of that issuer."""


class Profile(msgspec.Struct, frozen=True):
    """Whom a provider vouches for: `id` is theirs for good, the rest is "" when not told. `email` is a verified one."""

    id: str
    display_name: str = ""
    avatar_url: str = ""
    email: str = ""


class GameCenterProof(NamedTuple):
    """What Game Center gives a player to prove themselves with; `salt` and `signature` in base64."""

    player_id: str
    bundle_id: str
    timestamp: int
    salt: str
    signature: str
    public_key_url: str


class NotConfigured(FailedPrecondition):
    """The operator has set nothing up for this provider."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} authentication is not configured.")


class BadProof(Unauthenticated):
    """A token, ticket or signature that proves nothing. Why is in the log: a forger need not know."""


class FriendsHidden(FailedPrecondition):
    """The player lets nobody see their friends at the provider."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The friends of this {name} account are private.")


class Provider(Protocol):
    """One outside provider."""

    @property
    def configured(self) -> bool:
        """Whether the operator has set it up."""
        ...

    @property
    def name(self) -> str:
        """As people know it."""
        ...

    async def verify(self, proof: Any, nonce: str = "") -> Profile:
        """Whom a proof speaks for: a text, or a GameCenterProof. `nonce` is the one the client says it chose.

        Costs no round trip where keys are known, up to two to the provider elsewhere. Raises NotConfigured, BadProof,
        ProviderAway, Overloaded.
        """
        ...


class FriendSource(Provider, Protocol):
    """A provider that knows a player's friends."""

    async def friends(self, proof: str, player: Profile) -> list[str]:
        """The ids there of the friends of a player just verified by `proof`. Several round trips.

        Raises FriendsHidden, BadProof, ProviderAway, Overloaded.
        """
        ...


class OpenIdIssuers(Protocol):
    """The issuers of the operator's own choice."""

    async def custom_id(self, text: str, nonce: str = "") -> str:
        """`oidc:NAME:SUBJECT` for `oidc:NAME:TOKEN`. Raises NotConfigured, BadProof, ProviderAway, Overloaded."""
        ...


class Claimed(Protocol):
    """What a checked ID token says of its bearer."""

    @property
    def verified_email(self) -> str:
        """The address if the issuer says that it is the bearer's, else ""."""
        ...


class TokenCheck(Protocol):
    """Believes the ID tokens of some issuers that were made for some audiences."""

    async def verify(self, token: str, nonce: str) -> Claimed:
        """The claims of a token that can be believed. Raises BadProof, ProviderAway, Overloaded."""
        ...
