"""What parties look like on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from palestra.features.parties.rules import Party
from palestra.features.streams.contract import Presence, Stream
from palestra.gateway.fields import Int32, Int64, Int64Text, JsonText
from palestra.gateway.operation import Session
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import Push


class PartyCreate(msgspec.Struct):
    """Request of party_create; `label` is the text of a JSON object."""

    open: bool = False
    max_size: Int32 = 0
    label: str = ""
    hidden: bool = False


class PartyNamed(msgspec.Struct):
    """Request of party_join, party_leave, party_close and party_join_request_list."""

    party_id: str = ""


class PartyTarget(msgspec.Struct):
    """Request of party_promote, party_accept and party_remove: whom they mean."""

    party_id: str = ""
    presence: UserPresence | None = None


class PartyMatchmakerAdd(msgspec.Struct):
    """Request of party_matchmaker_add."""

    party_id: str = ""
    min_count: Int32 = 0
    max_count: Int32 = 0
    query: str = ""
    string_properties: dict[str, str] = {}
    numeric_properties: dict[str, float] = {}
    count_multiple: Int32 | None = None


class PartyMatchmakerRemove(msgspec.Struct):
    """Request of party_matchmaker_remove."""

    party_id: str = ""
    ticket: str = ""


class PartyDataSend(msgspec.Struct):
    """Request of party_data_send; `data` is base64."""

    party_id: str = ""
    op_code: Int64 = 0
    data: str = ""


class PartyUpdate(msgspec.Struct, omit_defaults=True):
    """Request of party_update, which sets all three; and the push that tells of it."""

    party_id: str = ""
    label: str = ""
    open: bool = False
    hidden: bool = False


class ListParties(msgspec.Struct):
    """Query of the listing."""

    limit: Int32 | None = None
    open: bool | None = None
    query: str = ""
    cursor: str = ""


class PartyState(msgspec.Struct, omit_defaults=True):
    """The `party` that creators and joiners are shown."""

    party_id: str
    open: bool = False
    hidden: bool = False
    max_size: int = 0
    own: UserPresence | None = msgspec.field(name="self", default=None)
    leader: UserPresence | None = None
    presences: list[UserPresence] = []
    label: str = ""


class PartyLeader(msgspec.Struct, omit_defaults=True):
    """Who leads now."""

    party_id: str
    presence: UserPresence


class PartyJoinRequest(msgspec.Struct, omit_defaults=True):
    """Who asks to come in: one as it happens, all as a reply."""

    party_id: str
    presences: list[UserPresence] = []


class PartyPresenceEvent(msgspec.Struct, omit_defaults=True):
    """Who came to a party and who went."""

    party_id: str
    joins: list[UserPresence] = []
    leaves: list[UserPresence] = []


class PartyTicket(msgspec.Struct, omit_defaults=True):
    """The ticket with which the party looks for a match."""

    party_id: str
    ticket: str


class PartyData(msgspec.Struct, omit_defaults=True):
    """What a member sends to the others; `data` is base64."""

    party_id: str
    presence: UserPresence
    op_code: Int64Text = ""
    data: str = ""


class ListedParty(msgspec.Struct, omit_defaults=True):
    """One party of a listing."""

    party_id: str
    open: bool = False
    hidden: bool = False
    max_size: int = 0
    label: JsonText = ""


class PartyList(msgspec.Struct, omit_defaults=True):
    """A listing."""

    parties: list[ListedParty] = []
    cursor: str = ""


def presence_of(session: Session) -> UserPresence:
    """A session in party messages."""
    return UserPresence(session.caller.user_id, session.id, session.caller.username)


def party_state(party: Party, session: Session) -> PartyState:
    """A party as one of its members sees it."""
    return PartyState(
        party.id,
        party.open,
        party.hidden,
        party.max_size,
        presence_of(session),
        presence_of(party.leader),
        [presence_of(one) for one in party.members.values()],
        party.label,
    )


def join_requests(party: Party, sessions: Iterable[Session]) -> PartyJoinRequest:
    """Who asks to come in."""
    return PartyJoinRequest(party.id, [presence_of(one) for one in sessions])


def leader_push(party: Party) -> Push:
    """Tells who leads now."""
    return Push("party_leader", PartyLeader(party.id, presence_of(party.leader)))


def close_push(stream: Stream) -> Push:
    """Tells that the party is over for whoever reads it."""
    return Push("party_close", PartyNamed(f"{stream.subject}.{stream.label}"))


def update_push(party: Party) -> Push:
    """Tells how the party describes itself now."""
    return Push("party_update", PartyUpdate(party.id, party.label, party.open, party.hidden))


def data_push(party: Party, sender: Session, op_code: int, data: bytes) -> Push:
    """Passes on what a member sends; `data` in canonical base64."""
    return Push("party_data", PartyData(party.id, presence_of(sender), str(op_code or ""), data.decode()))


def party_presence_event(stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]) -> Push:
    """The presence event of a party."""
    event = PartyPresenceEvent(f"{stream.subject}.{stream.label}", _shown(joins), _shown(leaves))
    return Push("party_presence_event", event)


def gone_push(party: Party, gone: Sequence[UserPresence]) -> Push:
    """Tells who went while the party moved."""
    return Push("party_presence_event", PartyPresenceEvent(party.id, leaves=list(gone)))


def _shown(presences: Sequence[Presence]) -> list[UserPresence]:
    return [UserPresence(one.user_id, one.session_id, one.username) for one in presences]
