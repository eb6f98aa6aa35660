"""Coming and going: players who join and leave groups at the same time share transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from palestra.core.clock import Clock
from palestra.core.errors import PalestraError
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.groups import rules
from palestra.features.groups.contract import Group, GroupFull, GroupNotFound, LastSuperadmin, State
from palestra.features.groups.store import GroupStore, Passage, Standing


class Passed(NamedTuple):
    """What came of a passage; without a group nothing did.

    `admin_ids` are those who decide about a request. `deleted` says that the group went with its last member.
    """

    group: Group | None = None
    admin_ids: tuple[str, ...] = ()
    deleted: bool = False


class Doors:
    """Lets players in and out of groups, those of one round in the order in which they came."""

    def __init__(self, store: GroupStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._batch = store.passages(self._pass)

    async def join(self, group_id: str, user_id: str) -> Passed:
        """Join an open group or ask a closed one. Raises GroupNotFound, GroupFull, AccountNotFound."""
        return await self._batch.submit(Passage(group_id, user_id, True))

    async def leave(self, group_id: str, user_id: str) -> Passed:
        """Leave a group or withdraw a request. Raises LastSuperadmin."""
        return await self._batch.submit(Passage(group_id, user_id, False))

    async def _pass(self, tx: asyncpg.Connection, passages: Sequence[Passage]) -> list[Passed | Exception]:
        await self._store.lock_joiners(tx, {one.user_id for one in passages if one.joins})
        groups = await self._store.lock_many(tx, {one.group_id for one in passages})
        standings = await self._store.standings(tx, [(one.group_id, one.user_id) for one in passages])
        asked = {
            one.group_id
            for one in passages
            if (group := groups.get(one.group_id))
            and ((one.joins and not group.open) or standings[one.group_id, one.user_id].state == State.SUPERADMIN)
        }
        in_charge = await self._store.in_charge(tx, asked) if asked else {}
        halls = {one.id: _Hall(one, in_charge.get(one.id, [])) for one in groups.values()}
        outcomes: list[Passed | Exception] = []
        for one in passages:
            hall, standing = halls.get(one.group_id), standings[one.group_id, one.user_id]
            try:
                if hall is None:
                    outcomes.append(GroupNotFound() if one.joins else Passed())
                elif one.joins:
                    outcomes.append(hall.join(one.user_id, standing))
                else:
                    outcomes.append(hall.leave(one.user_id, standing.state))
            except PalestraError as error:
                outcomes.append(error)
        await self._write(tx, list(halls.values()))
        return outcomes

    async def _write(self, tx: asyncpg.Connection, halls: Sequence[_Hall]) -> None:
        now_ns = int(self._clock.now() * 1e9)
        left = [hall for hall in halls if not hall.deleted]
        await self._store.set_members(
            tx, [(hall.group.id, user_id, state) for hall in left for user_id, state in hall.came], now_ns
        )
        await self._store.delete_members(tx, [(hall.group.id, user_id) for hall in left for user_id in hall.gone])
        await self._store.add_to_counts(tx, {hall.group.id: hall.members - hall.group.edge_count for hall in left})
        await self._store.delete(tx, [hall.group.id for hall in halls if hall.deleted])


class _Hall:
    """A group that is held, while players come and go."""

    def __init__(self, group: Group, in_charge: Sequence[tuple[str, int]]) -> None:
        self.group = group
        self.members = group.edge_count
        self.came: list[tuple[str, int]] = []
        self.gone: list[str] = []
        self.deleted = False
        self._admin_ids = tuple(user_id for user_id, _ in in_charge)
        self._superadmins = sum(state == State.SUPERADMIN for _, state in in_charge)

    def join(self, user_id: str, standing: Standing) -> Passed:
        """Somebody of that standing wants in. Raises GroupNotFound, GroupFull, AccountNotFound."""
        if self.deleted:
            raise GroupNotFound
        if self.members >= self.group.max_count:
            raise GroupFull
        if standing.state is not None:
            return Passed()
        if not standing.exists:
            raise AccountNotFound
        self.came.append((user_id, State.MEMBER if self.group.open else State.JOIN_REQUEST))
        self.members += self.group.open
        return Passed(self.group, self._admin_ids)

    def leave(self, user_id: str, state: int | None) -> Passed:
        """Somebody of that state wants out. Raises LastSuperadmin."""
        if self.deleted or state is None or state == State.BANNED:
            return Passed()
        if state == State.SUPERADMIN and self._superadmins == 1:
            if self.members > 1:
                raise LastSuperadmin
            self.deleted = True
        else:
            self.gone.append(user_id)
            self.members -= rules.counts(state)
            self._superadmins -= state == State.SUPERADMIN
        return Passed(self.group, deleted=self.deleted)
