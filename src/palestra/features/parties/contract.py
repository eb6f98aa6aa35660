"""What others may know of parties, and every reason for which a party says no."""

from __future__ import annotations

from typing import Protocol

import msgspec

from palestra.core.errors import FailedPrecondition, InvalidArgument, PalestraError

MEMBERS_MAX = 256
"""Also of those who may ask to come in: a party has as many places for requests as for members."""
LABEL_BYTES_MAX = 2_048
LIST_LIMIT_MAX = 100


class PartyInfo(msgspec.Struct, frozen=True):
    """A party as listings show it; `label` is the compact text of a JSON object."""

    party_id: str
    open: bool
    hidden: bool
    max_size: int
    label: str


class PartyPage(msgspec.Struct, frozen=True):
    """Some parties of a listing; `cursor` leads to the next page and is empty on the last."""

    parties: list[PartyInfo]
    cursor: str = ""


class InvalidPartyId(InvalidArgument):
    """A party id is a UUID, a dot and the name of a node."""

    def __init__(self) -> None:
        super().__init__("Invalid party ID")


class InvalidPresence(InvalidArgument):
    """A presence handed back names user, session and username."""

    def __init__(self) -> None:
        super().__init__("Invalid presence")


class InvalidMaxSize(InvalidArgument):
    """A party has one place at least, for whoever makes it."""

    def __init__(self) -> None:
        super().__init__(f"Invalid party max size, must be 1-{MEMBERS_MAX}")


class BadListing(InvalidArgument):
    """A parameter of a listing is out of range, or its cursor belongs to another listing."""


class PartyError(FailedPrecondition):
    """A party says no, and nothing has changed. Players read `cause` behind what they tried."""

    cause = ""

    def __init__(self, cause: str = "") -> None:
        super().__init__(cause or self.cause)


class PartyNotFound(PartyError):
    """There is no such party, or it has ended."""

    cause = "party not found"


class PartyFull(PartyError):
    """All places are taken."""

    cause = "party full"


class LeaderOnly(PartyError):
    """The leader may do this and nobody else."""

    cause = "party leader only"


class MemberNotFound(PartyError):
    """The one who is meant, or who asks, is not in the party."""

    cause = "party member not found"


class AlreadyMember(PartyError):
    """Members need not ask to come in."""

    cause = "party join request already member"


class RequestDuplicate(PartyError):
    """The player waits to be let in already."""

    cause = "party join request duplicate"


class RequestsFull(PartyError):
    """As many wait to be let in as the party has places."""

    cause = "party join requests full"


class RequestNotFound(PartyError):
    """Nobody of that user, session and name has asked to come in."""

    cause = "party join request not found"


class RequesterGone(PartyError):
    """Whoever asked has left the game; the request is gone too."""

    cause = "party could not accept request"


class CannotRemoveSelf(PartyError):
    """The leader leaves or closes, and is not removed."""

    cause = "party cannot remove self"


class LabelTooLong(PartyError):
    """A label has a limit of bytes."""

    cause = "party label too long"


class LabelNotObject(PartyError):
    """A label is the text of a JSON object."""

    cause = "failed to unmarshal party label: a JSON object is expected"


class HiddenWithLabel(PartyError):
    """A party that is being hidden cannot be given a label: nobody could find it by that."""

    cause = "party is hidden and label is not empty, invalid operation"


class PartyMoved(PalestraError):
    """The party was handed over to another node, the one named by the message: ask there. Callers never see it."""


class TooManyParties(PartyError):
    """A session is in as many parties as it may be."""

    cause = "too many parties, leave one first"


class Parties(Protocol):
    """Parties as game modules use them (`ctx.parties`)."""

    async def list(
        self,
        *,
        limit: int = 10,
        open: bool | None = None,
        show_hidden: bool = False,
        query: str = "",
        cursor: str = "",
        quotes: bool = True,
    ) -> PartyPage:
        """Up to `limit` (1–100) parties, the newest first, with a query the best match first.

        `query` asks `label.*`, `open`, `hidden`, `max_size`, `create_time` and `node`; `quotes` is as in `query.parse`.
        O(parties). Raises BadListing, and BadQuery for a query that is none.
        """
        ...
