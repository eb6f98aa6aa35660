"""Pure decisions about groups: who may do what to whom, which texts fit, in which order groups are listed."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.errors import PalestraError
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.groups.contract import (
    PAGE_MAX,
    USERS_MAX,
    BadCursor,
    BadGroupId,
    BadLimit,
    BadState,
    BadUserId,
    Group,
    GroupFilter,
    Happening,
    ListRefused,
    NameGoesAlone,
    State,
    TooManyUsers,
)

TEXT_CHARS_MAX = {"name": 255, "description": 255, "avatar_url": 512, "lang_tag": 18}
BEFORE_ALL = -1
"""A position, in nanoseconds since 1970, before every member."""
INT32_MAX = 2**31 - 1
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Verb(enum.Enum):
    """What those in charge can do to others; the value is what is told in the group's channel."""

    ADD = Happening.ADDED
    KICK = Happening.KICKED
    BAN = Happening.BANNED
    PROMOTE = Happening.PROMOTED
    DEMOTE = Happening.DEMOTED


def counts(state: int | None) -> bool:
    """Whether a state makes a member of the group, as against a stranger, a requester or one banned."""
    return state is not None and state <= State.MEMBER


def state_after(verb: Verb, by: int, state: int | None, superadmins: int) -> int | None:
    """How a player stands to a group after somebody of state `by`, 0 or 1, did `verb` to them; None is in no way.

    Unchanged when `by` may not, or when there is nothing to do. The last superadmin stays what they are.
    """
    last_superadmin = state == State.SUPERADMIN and superadmins <= 1
    if verb is Verb.ADD:
        return State.MEMBER if state is None or state == State.JOIN_REQUEST else state
    if state is None or last_superadmin:
        return state
    if verb is Verb.PROMOTE:
        return state - 1 if by < state <= State.MEMBER else state
    if verb is Verb.DEMOTE:
        return state + 1 if by <= state <= State.ADMIN else state
    if by == State.SUPERADMIN or state >= State.MEMBER:
        return None if verb is Verb.KICK else State.BANNED
    return state


def told(verb: Verb, state: int | None, after: int | None) -> bool:
    """Whether a change is told in the group's channel: not what befalls those who never were members."""
    return state != after and (verb is Verb.ADD or counts(state))


def group_id(text: str) -> str:
    """The canonical form of a group's id. Raises BadGroupId."""
    try:
        return parse_id(text)
    except ValueError:
        raise BadGroupId from None


def user_ids(texts: Sequence[str]) -> list[str]:
    """The canonical forms of ids of players, each once. Raises BadUserId, TooManyUsers."""
    if len(texts) > USERS_MAX:
        raise TooManyUsers
    try:
        return list(dict.fromkeys(map(parse_id, texts)))
    except ValueError:
        raise BadUserId from None


def check_texts(refusal: type[PalestraError], **texts: str | None) -> None:
    """Raises `refusal` when a text is too long, or holds a NUL, which the database cannot store."""
    for name, text in texts.items():
        if text is not None and (len(text) > TEXT_CHARS_MAX[name] or "\0" in text):
            raise refusal()


def check_limit(limit: int) -> None:
    """Raises BadLimit."""
    if not 1 <= limit <= PAGE_MAX:
        raise BadLimit


# -- lists of members, and of groups of a member


class Position(msgspec.Struct, frozen=True):
    """Where a page begins: `id` is the player's in lists of a group, the group's in lists of a player."""

    state: int
    position: int
    id: str


class MemberCursor(msgspec.Struct, frozen=True, tag="members"):
    """A position in the list of a group or of a player, which `of` names."""

    of: str
    start: Position


def members_start(of: str, state: int | None, cursor: str) -> tuple[Position, int]:
    """Where such a list starts, and the last state it shows. Raises BadState, BadCursor."""
    if state is not None and not 0 <= state <= State.BANNED:
        raise BadState
    last = State.JOIN_REQUEST if state is None else state
    if not cursor:
        return Position(state or 0, BEFORE_ALL, SYSTEM_USER), last
    try:
        found = open_cursor(cursor, MemberCursor)
        start = Position(found.start.state, found.start.position, parse_id(found.start.id))
    except ValueError:
        raise BadCursor from None
    # On from here there is nothing of another state that was asked for.
    fits = 0 <= start.state <= last if state is None else start.state == state
    if found.of != of or not fits or not BEFORE_ALL <= start.position < 2**63:
        raise BadCursor
    return start, last


def members_cursor(of: str, start: Position) -> str:
    """The cursor to the page that begins with the entry at `start`."""
    return seal_cursor(MemberCursor(of, start))


# -- lists of groups


class Order(enum.Enum):
    """How a list of groups is ordered; the value is the name of its statement."""

    UPDATE = "list_by_update"
    NAME = "list_by_name"
    LANGUAGE = "list_by_language"
    SIZE = "list_by_size"
    SIZE_IN_LANGUAGE = "list_by_size_in_language"
    SIZE_IF_OPEN = "list_by_size_if_open"


class GroupPosition(msgspec.Struct, frozen=True):
    """Where a page of groups ends; each order looks at some of it."""

    name: str
    edge_count: int
    updated_at: datetime
    id: str


FIRST = GroupPosition("", BEFORE_ALL, datetime(1970, 1, 1, tzinfo=UTC), SYSTEM_USER)
LAST = GroupPosition("", INT32_MAX, datetime(9999, 1, 1, tzinfo=UTC), LAST_ID)


class GroupCursor(msgspec.Struct, frozen=True, tag="groups"):
    """A position in a list of groups with certain filters."""

    wanted: GroupFilter
    after: GroupPosition


def order_of(wanted: GroupFilter) -> Order:
    """The order that goes with a filter. Raises NameGoesAlone."""
    sized = wanted.members is not None
    if wanted.name:
        if sized or wanted.lang_tag or wanted.open is not None:
            raise NameGoesAlone
        return Order.NAME
    if wanted.lang_tag:
        return Order.SIZE_IN_LANGUAGE if sized or wanted.open is not None else Order.LANGUAGE
    if sized:
        return Order.SIZE if wanted.open is None else Order.SIZE_IF_OPEN
    return Order.UPDATE


def groups_start(wanted: GroupFilter, cursor: str) -> GroupPosition:
    """Where a list of groups starts. Raises ListRefused."""
    if "\0" in wanted.name or "\0" in wanted.lang_tag:
        raise ListRefused
    if not cursor:
        rising = order_of(wanted) in (Order.UPDATE, Order.NAME, Order.LANGUAGE)
        return FIRST if rising else LAST
    try:
        found = open_cursor(cursor, GroupCursor)
        after = found.after
        position = GroupPosition(after.name, after.edge_count, after.updated_at.astimezone(UTC), parse_id(after.id))
    except (ValueError, OverflowError):
        raise ListRefused from None
    if found.wanted != wanted or abs(position.edge_count) > INT32_MAX or "\0" in position.name:
        raise ListRefused
    return position


def groups_cursor(wanted: GroupFilter, last: Group) -> str:
    """The cursor behind a group."""
    return seal_cursor(GroupCursor(wanted, GroupPosition(last.name, last.edge_count, last.updated_at, last.id)))


def name_pattern(name: str) -> tuple[str, str]:
    """The pattern of a name filter, anchored at its start, and the letters with which all it can find begin.

    Raises ListRefused when the pattern ends in the middle of an escape.
    """
    pattern = name.lstrip("% \t\r\n")
    prefix, escaped, literal = "", False, True
    for letter in pattern:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
            continue
        elif letter in "%_":
            literal = False
        if literal:
            prefix += letter
    if escaped:
        raise ListRefused
    return pattern, prefix
