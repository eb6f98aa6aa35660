"""What can be done with groups; implements the contract's `Groups`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from palestra.core.clock import Clock
from palestra.core.events import EventBus
from palestra.core.ids import new_id
from palestra.features.accounts.contract import AccountNotFound, UserRecord, Users, player_id
from palestra.features.groups import rules
from palestra.features.groups.contract import (
    MEMBERS_DEFAULT,
    PAGE_MAX,
    BadMaxCount,
    ChangeDenied,
    CreationRefused,
    DeleteDenied,
    EmptyLanguage,
    EmptyName,
    Group,
    GroupDeleted,
    GroupFilter,
    GroupFull,
    GroupPage,
    Happening,
    JoinRequested,
    Member,
    MemberChanged,
    MemberPage,
    Membership,
    MembershipPage,
    NameMissing,
    NothingToUpdate,
    NoUserIds,
    State,
    UpdateDenied,
    UpdateRefused,
    UsersNotFound,
)
from palestra.features.groups.doors import Doors
from palestra.features.groups.rules import Position, Verb
from palestra.features.groups.store import GroupStore, NewGroup


class GroupService:
    """Groups for clients and game code."""

    def __init__(self, store: GroupStore, users: Users, events: EventBus, clock: Clock) -> None:
        self._store = store
        self._users = users
        self._events = events
        self._clock = clock
        self._deleted_with: dict[str, list[str]] = {}
        self._doors = Doors(store, clock)
        self._pages = store.pages(self._read_page)

    # -- groups

    async def create(
        self,
        user_id: str,
        name: str,
        *,
        description: str = "",
        avatar_url: str = "",
        lang_tag: str = "",
        open: bool = False,
        max_count: int = 0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Group:
        """See Groups.create."""
        if not name:
            raise NameMissing
        if max_count < 0:
            raise BadMaxCount
        rules.check_texts(CreationRefused, name=name, description=description, avatar_url=avatar_url, lang_tag=lang_tag)
        text = msgspec.json.encode(metadata).decode() if metadata else "{}"
        user_id = player_id(user_id)
        group = NewGroup(
            new_id(),
            user_id,
            name,
            description,
            avatar_url,
            lang_tag or "en",
            text,
            open,
            max_count or MEMBERS_DEFAULT,
        )
        async with self._store.transaction() as tx:
            await self._store.lock_joiners(tx, [user_id])
            made = await self._store.create(tx, group)
            if user_id not in await self._store.existing(tx, [user_id]):
                raise AccountNotFound
            await self._store.set_members(tx, [(group.id, user_id, State.SUPERADMIN)], self._now_ns())
        return made

    async def update(
        self,
        group_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        avatar_url: str | None = None,
        lang_tag: str | None = None,
        open: bool | None = None,
        caller_id: str | None = None,
    ) -> None:
        """See Groups.update."""
        found_id = rules.group_id(group_id)
        if name == "":
            raise EmptyName
        if lang_tag == "":
            raise EmptyLanguage
        changes = (name, description, avatar_url, lang_tag, open)
        if all(change is None for change in changes):
            raise NothingToUpdate
        rules.check_texts(UpdateRefused, name=name, description=description, avatar_url=avatar_url, lang_tag=lang_tag)
        async with self._store.transaction() as tx:
            group = await self._store.lock(tx, found_id)
            if group is None or await self._power(tx, found_id, caller_id) > State.ADMIN:
                raise UpdateDenied
            await self._store.update(tx, found_id, changes)

    async def delete(self, group_id: str, *, caller_id: str | None = None) -> None:
        """See Groups.delete."""
        found_id = rules.group_id(group_id)
        async with self._store.transaction() as tx:
            group = await self._store.lock(tx, found_id)
            if group is None or await self._power(tx, found_id, caller_id) > State.SUPERADMIN:
                raise DeleteDenied
            await self._store.delete(tx, [found_id])
        await self._events.publish(GroupDeleted(found_id))

    async def _power(self, tx: asyncpg.Connection, group_id: str, caller_id: str | None) -> int:
        """The caller's state; strangers count as banned, the server as a superadmin."""
        if caller_id is None:
            return State.SUPERADMIN
        return (await self._store.states(tx, group_id, [caller_id])).get(caller_id, State.BANNED)

    # -- coming and going

    async def join(self, group_id: str, user_id: str, username: str) -> None:
        """See Groups.join."""
        found_id, user_id = rules.group_id(group_id), player_id(user_id)
        group, admin_ids, _ = await self._doors.join(found_id, user_id)
        if group is None:
            return
        if group.open:
            await self._events.publish(
                MemberChanged(found_id, group.name, Happening.JOINED, user_id, username, user_id)
            )
        else:
            await self._events.publish(JoinRequested(found_id, user_id, username, admin_ids))

    async def leave(self, group_id: str, user_id: str, username: str) -> None:
        """See Groups.leave."""
        found_id, user_id = rules.group_id(group_id), player_id(user_id)
        passed = await self._doors.leave(found_id, user_id)
        if passed.deleted:
            await self._events.publish(GroupDeleted(found_id))
        elif passed.group is not None:
            name = passed.group.name
            await self._events.publish(MemberChanged(found_id, name, Happening.LEFT, user_id, username, user_id))

    # -- what those in charge do to others

    async def add_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """See Groups.add_users."""
        await self._change(Verb.ADD, group_id, user_ids, caller_id)

    async def kick_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """See Groups.kick_users."""
        await self._change(Verb.KICK, group_id, user_ids, caller_id)

    async def ban_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """See Groups.ban_users."""
        await self._change(Verb.BAN, group_id, user_ids, caller_id)

    async def promote_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """See Groups.promote_users."""
        await self._change(Verb.PROMOTE, group_id, user_ids, caller_id)

    async def demote_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """See Groups.demote_users."""
        await self._change(Verb.DEMOTE, group_id, user_ids, caller_id)

    async def _change(self, verb: Verb, group_id: str, user_ids: Sequence[str], caller_id: str | None) -> None:
        found_id = rules.group_id(group_id)
        if not user_ids:
            if verb is Verb.DEMOTE:
                raise NoUserIds
            return
        targets = [one for one in rules.user_ids(user_ids) if one != caller_id]
        async with self._store.transaction() as tx:
            if verb is Verb.ADD:
                await self._store.lock_joiners(tx, targets)
            group = await self._store.lock(tx, found_id)
            power = State.BANNED if group is None else await self._power(tx, found_id, caller_id)
            if group is None or power > State.ADMIN:
                raise ChangeDenied
            if verb is Verb.ADD and not (await self._store.existing(tx, targets)).issuperset(targets):
                raise UsersNotFound
            affected = await self._apply(tx, verb, group, targets, power)
        names = {user.id: user.username for user in await self._users.get_many(affected)} if affected else {}
        happened = [
            MemberChanged(found_id, group.name, verb.value, user_id, names.get(user_id, ""), caller_id or "")
            for user_id in affected
        ]
        # All at once: subscribers that write share their round trips.
        await asyncio.gather(*map(self._events.publish, happened))

    async def _apply(
        self, tx: asyncpg.Connection, verb: Verb, group: Group, targets: Sequence[str], power: int
    ) -> list[str]:
        """Change the targets that may be changed, in a group that is held; returns those of whom it is told.

        Raises GroupFull.
        """
        states = await self._store.states(tx, group.id, targets)
        superadmins = await self._store.superadmins(tx, group.id)
        kept: list[tuple[str, str, int]] = []
        gone: list[tuple[str, str]] = []
        affected: list[str] = []
        change = 0
        for user_id in targets:
            state = states.get(user_id)
            after = rules.state_after(verb, power, state, superadmins)
            if after == state:
                continue
            if after is None:
                gone.append((group.id, user_id))
            else:
                kept.append((group.id, user_id, after))
            superadmins += (after == State.SUPERADMIN) - (state == State.SUPERADMIN)
            change += rules.counts(after) - rules.counts(state)
            if rules.told(verb, state, after):
                affected.append(user_id)
        if change > 0 and group.edge_count + change > group.max_count:
            raise GroupFull
        await self._store.set_members(tx, kept, self._now_ns())
        await self._store.delete_members(tx, gone)
        await self._store.add_to_counts(tx, {group.id: change})
        return affected

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """See Groups.forget."""
        await self._store.lock_leaver(tx, user_id)
        places = await self._store.lock_places(tx, user_id)
        deleted = [
            place.group_id
            for place in places
            if (place.state == State.SUPERADMIN and place.superadmins == 1)
            or (rules.counts(place.state) and place.edge_count == 1)
        ]
        await self._store.delete(tx, deleted)
        await self._store.leave_all(tx, user_id, places)
        if deleted:
            self._deleted_with[user_id] = deleted

    async def forgotten(self, user_id: str) -> None:
        """The player is gone for good, and with them the groups that `forget` deleted: publishes GroupDeleted."""
        for group_id in self._deleted_with.pop(user_id, ()):
            await self._events.publish(GroupDeleted(group_id))

    # -- reading

    async def list(self, wanted: GroupFilter, limit: int = 1, cursor: str = "") -> GroupPage:
        """See Groups.list."""
        rules.check_limit(limit)
        rules.order_of(wanted)
        return await self._pages.page("", msgspec.structs.astuple(wanted), limit, cursor)

    async def _read_page(self, fields: Sequence[Any], limit: int, cursor: str) -> GroupPage:
        wanted = GroupFilter(*fields)
        order = rules.order_of(wanted)
        after = rules.groups_start(wanted, cursor)
        # One more than asked for tells whether there is a next page.
        groups = await self._store.list(order, wanted, after, limit + 1)
        if len(groups) <= limit:
            return GroupPage(groups)
        return GroupPage(groups[:limit], rules.groups_cursor(wanted, groups[limit - 1]))

    async def list_users(
        self, group_id: str, limit: int = PAGE_MAX, state: int | None = None, cursor: str = ""
    ) -> MemberPage:
        """See Groups.list_users."""
        found_id = rules.group_id(group_id)
        rules.check_limit(limit)
        start, last_state = rules.members_start(found_id, state, cursor)
        kept = None if cursor or state == State.BANNED else await self._store.beginning(found_id)
        if kept is not None and (page := kept.page((limit, state))) is not None:
            return page
        fits = None if state is None else lambda row: row.state == state
        rows = kept.first(limit + 1, fits) if kept is not None else None
        if rows is None:
            kept, rows = None, await self._store.list_members(found_id, start, last_state, limit + 1)
        users, watch = await self._users.get_watched([row.id for row in rows[:limit]])
        page = _member_page(found_id, rows, limit, users)
        if kept is not None and watch is not None:
            kept.keep((limit, state), page, watch)
        return page

    async def list_of_user(
        self, user_id: str, limit: int = PAGE_MAX, state: int | None = None, cursor: str = ""
    ) -> MembershipPage:
        """See Groups.list_of_user."""
        found_id = rules.group_id(user_id)
        rules.check_limit(limit)
        start, last_state = rules.members_start(found_id, state, cursor)
        if state == State.BANNED:
            return MembershipPage([])
        rows = await self._store.list_of_user(found_id, start, last_state, limit + 1)
        memberships = [Membership(group, position.state) for position, group in rows[:limit]]
        if len(rows) <= limit:
            return MembershipPage(memberships)
        return MembershipPage(memberships, rules.members_cursor(found_id, rows[limit][0]))

    async def state_of(self, group_id: str, user_id: str) -> int | None:
        """See Groups.state_of."""
        return await self._store.state_of(rules.group_id(group_id), user_id)

    def _now_ns(self) -> int:
        return int(self._clock.now() * 1e9)


def _member_page(group_id: str, rows: Sequence[Position], limit: int, users: Iterable[UserRecord]) -> MemberPage:
    known = {user.id: user for user in users}
    members = [Member(known[row.id], row.state) for row in rows[:limit] if row.id in known]
    if len(rows) <= limit:
        return MemberPage(members)
    return MemberPage(members, rules.members_cursor(group_id, rows[limit]))
