"""Which channel somebody means, and whether they may go there."""

from __future__ import annotations

import asyncio

from palestra.core.errors import Overloaded, Unavailable
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.accounts.contract import Users
from palestra.features.chat import rules
from palestra.features.chat.contract import BadTarget, Kind, NotLookedUp
from palestra.features.friends.contract import Friends
from palestra.features.groups.contract import Groups, State
from palestra.features.streams.contract import GROUP, Stream


class Addresses:
    """Finds channels by what clients and game code call them. Rooms cost nothing, the others a round trip or two."""

    def __init__(self, users: Users, friends: Friends, groups: Groups) -> None:
        self._users = users
        self._friends = friends
        self._groups = groups

    async def find(self, target: str, kind: int, caller_id: str) -> Stream:
        """The channel that `caller_id` may go to; "" is the server, which may go anywhere but has no conversations.

        Raises BadTarget, BadKind, NotLookedUp.
        """
        if not target:
            raise BadTarget
        what = rules.kind_of(kind)
        if what is Kind.ROOM:
            return rules.room(target)
        if what is Kind.DIRECT:
            return await self._direct(target, caller_id)
        return await self._group(target, caller_id)

    async def _direct(self, target: str, caller_id: str) -> Stream:
        invalid = "Invalid user ID in direct message join"
        other_id = _id(target, invalid)
        caller_id = _id(caller_id, invalid)
        if SYSTEM_USER in (other_id, caller_id):
            raise BadTarget(invalid)
        try:
            known, blocking = await asyncio.gather(
                self._users.get_many([other_id]), self._friends.blocks(other_id, [caller_id])
            )
        except (Unavailable, Overloaded):
            raise NotLookedUp("user ID") from None
        if not known or blocking:
            raise BadTarget("User ID not found")
        return rules.direct(caller_id, other_id)

    async def _group(self, target: str, caller_id: str) -> Stream:
        group_id = _id(target, "Invalid group ID in group channel join")
        if caller_id:
            try:
                state = await self._groups.state_of(group_id, caller_id)
            except (Unavailable, Overloaded):
                raise NotLookedUp("group membership") from None
            if state is None or state > State.MEMBER:
                raise BadTarget("Group not found")
        return Stream(GROUP, group_id)


def _id(text: str, invalid: str) -> str:
    try:
        return parse_id(text)
    except ValueError:
        raise BadTarget(invalid) from None
