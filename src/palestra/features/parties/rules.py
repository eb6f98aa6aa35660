"""One party as a state machine: a step sees a whole party and leaves a whole party, or raises and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from palestra.core.clock import utc
from palestra.core.ids import parse_id
from palestra.core.query import Value, flatten
from palestra.features.parties.contract import (
    LABEL_BYTES_MAX,
    MEMBERS_MAX,
    AlreadyMember,
    CannotRemoveSelf,
    HiddenWithLabel,
    InvalidMaxSize,
    InvalidPartyId,
    InvalidPresence,
    LabelNotObject,
    LabelTooLong,
    LeaderOnly,
    MemberNotFound,
    PartyFull,
    PartyInfo,
    RequestDuplicate,
    RequestNotFound,
    RequestsFull,
)
from palestra.features.streams.contract import PARTY, Stream
from palestra.gateway.operation import Session
from palestra.gateway.presence import UserPresence

encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Any]).decode


def split_party_id(text: str) -> Stream:
    """The stream of the party that a player means. Raises InvalidPartyId."""
    first, dot, node = text.partition(".")
    try:
        if not dot:
            raise ValueError
        return Stream(PARTY, parse_id(first), label=node)
    except ValueError:
        raise InvalidPartyId from None


def check_presence(target: UserPresence | None) -> UserPresence:
    """A presence handed back by a client, if it can name anybody. Raises InvalidPresence."""
    if target is None or not (target.user_id and target.session_id and target.username):
        raise InvalidPresence
    return target


def check_max_size(max_size: int) -> int:
    """Raises InvalidMaxSize."""
    if not 1 <= max_size <= MEMBERS_MAX:
        raise InvalidMaxSize
    return max_size


def read_label(label: str) -> dict[str, Any]:
    """What a label says; nothing is an empty object. Raises LabelTooLong, LabelNotObject."""
    if len(label.encode()) > LABEL_BYTES_MAX:
        raise LabelTooLong
    try:
        return _object(label) if label else {}
    except (msgspec.DecodeError, RecursionError):
        raise LabelNotObject from None


@dataclass(slots=True, eq=False)
class Party:
    """Who is in a party, who leads it, who asks to come in, and what listings tell of it.

    `members` are in the order of their coming, `requests` in that of their asking, both by session id. The leader is a
    member from the first coming to the last going. `number` is its place in the order of making, on all nodes
    alike; `created_at` is in unix seconds.
    """

    stream: Stream
    number: int
    created_at: int
    leader: Session
    max_size: int
    members: dict[str, Session] = field(default_factory=dict)
    requests: dict[str, Session] = field(default_factory=dict)
    open: bool = False
    hidden: bool = False
    label: str = ""
    compact_label: str = "{}"
    document: Mapping[str, Sequence[Value]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id that clients use."""
        return f"{self.stream.subject}.{self.stream.label}"

    @property
    def info(self) -> PartyInfo:
        """The party as listings show it."""
        return PartyInfo(self.id, self.open, self.hidden, self.max_size, self.compact_label)

    def describe(self, label: str, *, open: bool, hidden: bool) -> None:
        """Set what others read of it, all of it. Raises LabelTooLong, LabelNotObject."""
        content = read_label(label)
        self.label, self.compact_label = label, encode(content).decode()
        self.open, self.hidden = open, hidden
        self.document = {
            **flatten(content, "label"),
            "open": ("T" if open else "F",),
            "hidden": ("T" if hidden else "F",),
            "max_size": (self.max_size,),
            "create_time": (self.created_at, utc(self.created_at)),
            "node": (self.stream.label,),
        }

    # -- members

    def came(self, session: Session) -> None:
        """A session is in, so its request has been met."""
        self.requests.pop(session.id, None)
        self.members[session.id] = session

    def went(self, session: Session) -> bool:
        """A session is out. Whether another leads now: the one who has been in it longest."""
        del self.members[session.id]
        if session.id != self.leader.id or not self.members:
            return False
        self.leader = next(iter(self.members.values()))
        return True

    def require_member(self, session: Session) -> None:
        """Raises MemberNotFound."""
        if session.id not in self.members:
            raise MemberNotFound

    def require_leader(self, session: Session) -> None:
        """Raises LeaderOnly."""
        if session.id != self.leader.id:
            raise LeaderOnly

    # -- what players do

    def knock(self, session: Session) -> bool:
        """Whether a session may come in at once; else it waits to be let in.

        Raises PartyFull, RequestsFull, RequestDuplicate, AlreadyMember, in this order.
        """
        self._require_place()
        if self.open:
            return True
        # Who has gone asks no more: neither takes a place from others, nor keeps the same player from asking again.
        self.requests = {name: one for name, one in self.requests.items() if not one.closing}
        if len(self.requests) >= self.max_size:
            raise RequestsFull
        if any(one.caller.user_id == session.caller.user_id for one in self.requests.values()):
            raise RequestDuplicate
        if session.id in self.members:
            raise AlreadyMember
        self.requests[session.id] = session
        return False

    def accept(self, asker: Session, target: UserPresence) -> Session:
        """Take the request of the one who is to come in. Raises LeaderOnly, RequestNotFound, PartyFull."""
        self.require_leader(asker)
        found = _named(self.requests, target)
        if found is None:
            raise RequestNotFound
        self._require_place()
        return self.requests.pop(found.id)

    def remove(self, asker: Session, target: UserPresence) -> Session | None:
        """The member who is to go, or None when it was a request that is dropped.

        Raises LeaderOnly, CannotRemoveSelf, MemberNotFound.
        """
        self.require_leader(asker)
        if target.session_id == asker.id:
            raise CannotRemoveSelf
        member = _named(self.members, target)
        if member is not None:
            return member
        waiting = _named(self.requests, target)
        if waiting is None:
            raise MemberNotFound
        del self.requests[waiting.id]
        return None

    def promote(self, asker: Session, target: UserPresence) -> None:
        """Let another lead. Raises LeaderOnly, MemberNotFound."""
        self.require_leader(asker)
        member = _named(self.members, target)
        if member is None:
            raise MemberNotFound
        self.leader = member

    def update(self, asker: Session, label: str, *, open: bool, hidden: bool) -> None:
        """Describe it anew. Raises LeaderOnly, LabelTooLong, HiddenWithLabel, LabelNotObject."""
        self.require_leader(asker)
        if len(label.encode()) > LABEL_BYTES_MAX:
            raise LabelTooLong
        if hidden and label:
            raise HiddenWithLabel
        self.describe(label, open=open, hidden=hidden)

    def _require_place(self) -> None:
        if len(self.members) >= self.max_size:
            raise PartyFull


def _named(among: Mapping[str, Session], target: UserPresence) -> Session | None:
    """The session that a presence means: all it says must be true of it."""
    found = among.get(target.session_id)
    if found is None or (found.caller.user_id, found.caller.username) != (target.user_id, target.username):
        return None
    return found
