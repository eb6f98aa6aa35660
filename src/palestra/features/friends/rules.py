"""Pure decisions about friendships: what an act does to a pair of edges, whom it may name, what a cursor means."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.friends.contract import (
    USERS_MAX,
    BadCursor,
    BadMetadata,
    BadState,
    BadUserId,
    EmptyUsername,
    OwnId,
    State,
    TooManyUsers,
)

BEFORE_ALL = -1
"""A position, in nanoseconds since 1970, before every edge."""


class Act(enum.Enum):
    """What a player can do to another; the value is what is said to those who try it on themselves."""

    ADD = "Cannot add self as friend."
    DELETE = "Cannot delete self."
    BLOCK = "Cannot block self."
    BEFRIEND = "Cannot befriend self."


class Outcome(enum.Enum):
    """What became of an act."""

    NOTHING = 0
    INVITED = 1
    ACCEPTED = 2
    REMOVED = 3
    UNBLOCKED = 4
    BLOCKED = 5
    JOINED = 6


Edges = tuple[int | None, int | None]
"""The states of a pair, one's own side first; None where there is no edge."""


def decide(act: Act, edges: Edges) -> tuple[Edges, Outcome]:
    """The edges of a pair after an act of the first, and what that amounts to."""
    mine, theirs = edges
    their_block = State.BLOCKED if theirs == State.BLOCKED else None
    if act is Act.BLOCK:
        return (State.BLOCKED, their_block), Outcome.NOTHING if mine == State.BLOCKED else Outcome.BLOCKED
    if act is Act.DELETE:
        if mine is None:
            return edges, Outcome.NOTHING
        return (None, their_block), Outcome.UNBLOCKED if mine == State.BLOCKED else Outcome.REMOVED
    if act is Act.BEFRIEND:
        if State.BLOCKED in edges or mine == State.FRIEND:
            return edges, Outcome.NOTHING
        return (State.FRIEND, State.FRIEND), Outcome.JOINED
    if mine is None and theirs is None:
        return (State.INVITE_SENT, State.INVITE_RECEIVED), Outcome.INVITED
    if mine == State.INVITE_RECEIVED:
        return (State.FRIEND, State.FRIEND), Outcome.ACCEPTED
    return edges, Outcome.NOTHING


def without_friendship(edges: Edges) -> Edges:
    """What is left of a pair's edges when friendships and invitations end: blocks."""
    mine, theirs = (State.BLOCKED if state == State.BLOCKED else None for state in edges)
    return mine, theirs


def check_named(act: Act, user_id: str, username: str, ids: Sequence[str], usernames: Sequence[str]) -> list[str]:
    """The ids an act names, in canonical form. Raises TooManyUsers, BadUserId, EmptyUsername, OwnId."""
    if len(ids) + len(usernames) > USERS_MAX:
        raise TooManyUsers
    canonical = []
    for text in ids:
        try:
            found = parse_id(text)
        except ValueError:
            raise BadUserId(text) from None
        if found == SYSTEM_USER:
            raise BadUserId(text)
        if found == user_id:
            raise OwnId(act.value)
        canonical.append(found)
    for name in usernames:
        if not name:
            raise EmptyUsername
        if name == username:
            raise OwnId(act.value)
    return canonical


def possible_names(usernames: Iterable[str]) -> list[str]:
    """Those names that somebody could have: the database holds no NUL."""
    return [name for name in usernames if "\0" not in name]


def metadata_text(text: str) -> str:
    """Metadata as a client sends it, checked to be JSON; "" is an empty object. Raises BadMetadata."""
    if not text:
        return "{}"
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise BadMetadata from None
    return text


class Position(msgspec.Struct, frozen=True):
    """Where a page of edges begins."""

    state: int
    position: int
    friend_id: str


class FriendCursor(msgspec.Struct, frozen=True, tag="friends"):
    """A position in the edges of one player."""

    user_id: str
    start: Position


class Referral(msgspec.Struct, frozen=True):
    """Where a page of friends of friends ends."""

    referrer_id: str
    friend_id: str


class ReferralCursor(msgspec.Struct, frozen=True, tag="friends of friends"):
    """A position in the friends of friends of one player."""

    user_id: str
    after: Referral


def friends_start(user_id: str, state: int | None, cursor: str) -> tuple[Position, int]:
    """Where a list of edges starts, and the last state it shows. Raises BadState, BadCursor."""
    if state is not None and not 0 <= state <= State.BLOCKED:
        raise BadState
    last = State.BLOCKED if state is None else state
    if not cursor:
        return Position(state or 0, BEFORE_ALL, SYSTEM_USER), last
    try:
        found = open_cursor(cursor, FriendCursor)
        start = Position(found.start.state, found.start.position, parse_id(found.start.friend_id))
    except ValueError:
        raise BadCursor from None
    # On from here there is nothing of another state that was asked for.
    fits = 0 <= start.state <= State.BLOCKED if state is None else start.state == state
    if found.user_id != user_id or not fits or not BEFORE_ALL <= start.position < 2**63:
        raise BadCursor
    return start, last


def friends_cursor(user_id: str, start: Position) -> str:
    """The cursor to the page that begins with the edge at `start`."""
    return seal_cursor(FriendCursor(user_id, start))


def referrals_start(user_id: str, cursor: str) -> Referral:
    """Where a list of friends of friends starts. Raises BadCursor."""
    if not cursor:
        return Referral(SYSTEM_USER, SYSTEM_USER)
    try:
        found = open_cursor(cursor, ReferralCursor)
        after = Referral(parse_id(found.after.referrer_id), parse_id(found.after.friend_id))
    except ValueError:
        raise BadCursor from None
    if found.user_id != user_id:
        raise BadCursor
    return after


def referrals_cursor(user_id: str, after: Referral) -> str:
    """The cursor behind a friend of a friend."""
    return seal_cursor(ReferralCursor(user_id, after))
