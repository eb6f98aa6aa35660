"""What players do to each other; implements the contract's `Friends`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from palestra.core.clock import Clock
from palestra.core.events import EventBus
from palestra.features.accounts.contract import AccountNotFound, UserRecord, Users, player_id
from palestra.features.friends import rules
from palestra.features.friends.contract import (
    PAGE_FRIENDS_MAX,
    PAGE_SUGGESTIONS_MAX,
    USERS_MAX,
    BadLimit,
    BadMetadata,
    Friend,
    FriendAccepted,
    FriendBlocked,
    FriendInvited,
    FriendJoined,
    FriendOfFriend,
    FriendOfFriendPage,
    FriendPage,
    FriendRemoved,
    NobodyNamed,
    OwnId,
    State,
)
from palestra.features.friends.rules import Act, Edges, Outcome
from palestra.features.friends.store import Edge, EdgeRow, FriendStore, PairChange

NO_METADATA = "{}"


class FriendService:
    """Friendships for clients and game code."""

    def __init__(self, store: FriendStore, users: Users, events: EventBus, clock: Clock) -> None:
        self._store = store
        self._users = users
        self._events = events
        self._clock = clock
        self._pairs = store.pairs(self._change_pairs)

    # -- reading

    async def list(
        self, user_id: str, limit: int = PAGE_FRIENDS_MAX, state: int | None = None, cursor: str = ""
    ) -> FriendPage:
        """See Friends.list."""
        if not 1 <= limit <= PAGE_FRIENDS_MAX:
            raise BadLimit(PAGE_FRIENDS_MAX)
        start, last_state = rules.friends_start(user_id, state, cursor)
        kept = None if cursor else await self._store.beginning(user_id)
        if kept is not None and (page := kept.page((limit, state))) is not None:
            return page
        fits = None if state is None else lambda row: row[1] == state
        # One more than asked for is where the next page begins.
        rows = kept.first(limit + 1, fits) if kept is not None else None
        if rows is None:
            kept, rows = None, await self._store.list(user_id, start, last_state, limit + 1)
        users, watch = await self._users.get_watched([row[0] for row in rows[:limit]])
        page = _page(user_id, rows, limit, users)
        if kept is not None and watch is not None:
            kept.keep((limit, state), page, watch)
        return page

    async def friends_of_friends(self, user_id: str, limit: int = 10, cursor: str = "") -> FriendOfFriendPage:
        """See Friends.friends_of_friends."""
        if not 1 <= limit <= PAGE_SUGGESTIONS_MAX:
            raise BadLimit(PAGE_SUGGESTIONS_MAX)
        after = rules.referrals_start(user_id, cursor)
        rows = await self._store.list_referrals(user_id, after, limit + 1)
        shown = rows[:limit]
        users = {user.id: user for user in await self._users.get_many({row.friend_id for row in shown})}
        found = [FriendOfFriend(row.referrer_id, users[row.friend_id]) for row in shown if row.friend_id in users]
        if len(rows) <= limit:
            return FriendOfFriendPage(found)
        return FriendOfFriendPage(found, rules.referrals_cursor(user_id, shown[-1]))

    async def blocks(self, user_id: str, other_ids: Iterable[str]) -> set[str]:
        """See Friends.blocks."""
        return await self._store.blocked_among(user_id, other_ids)

    # -- changing

    async def add(
        self,
        user_id: str,
        username: str,
        ids: Sequence[str] = (),
        usernames: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """See Friends.add."""
        try:
            text = msgspec.json.encode(metadata).decode() if metadata else NO_METADATA
        except RecursionError:
            raise BadMetadata from None
        await self._act(Act.ADD, user_id, username, ids, usernames, text)

    async def add_with_text(
        self, user_id: str, username: str, ids: Sequence[str], usernames: Sequence[str], metadata: str
    ) -> None:
        """`add` for metadata that comes as JSON text."""
        await self._act(Act.ADD, user_id, username, ids, usernames, rules.metadata_text(metadata))

    async def delete(self, user_id: str, username: str, ids: Sequence[str] = (), usernames: Sequence[str] = ()) -> None:
        """See Friends.delete."""
        await self._act(Act.DELETE, user_id, username, ids, usernames)

    async def block(self, user_id: str, username: str, ids: Sequence[str] = (), usernames: Sequence[str] = ()) -> None:
        """See Friends.block."""
        await self._act(Act.BLOCK, user_id, username, ids, usernames)

    async def befriend(
        self, user_id: str, username: str, ids: Sequence[str], provider: str, reset: bool = False
    ) -> None:
        """See Friends.befriend."""
        user_id = player_id(user_id)
        others = [other for other in dict.fromkeys(ids) if other != user_id]
        metadata = msgspec.json.encode({"provider": provider}).decode()
        await self._carry_out(Act.BEFRIEND, user_id, username, others[:USERS_MAX], metadata, reset)
        for start in range(USERS_MAX, len(others), USERS_MAX):
            await self._carry_out(Act.BEFRIEND, user_id, username, others[start : start + USERS_MAX], metadata)

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """See Friends.forget."""
        await self._store.lock(tx, [user_id])
        changes = await self._store.take_all(tx, user_id)
        changes.pop(user_id, None)
        if changes:
            await self._users.add_edges(tx, changes)

    async def _act(
        self,
        act: Act,
        user_id: str,
        username: str,
        ids: Sequence[str],
        usernames: Sequence[str],
        metadata: str = NO_METADATA,
    ) -> None:
        if not ids and not usernames:
            return
        user_id = player_id(user_id)
        targets = await self._targets(act, user_id, username, ids, usernames)
        if not targets:
            if act is Act.DELETE:
                return
            raise NobodyNamed
        await self._carry_out(act, user_id, username, targets, metadata)

    async def _carry_out(
        self, act: Act, user_id: str, username: str, targets: Sequence[str], metadata: str, reset: bool = False
    ) -> None:
        if len(targets) == 1 and not reset:
            outcome = await self._pairs.submit(PairChange(act, user_id, targets[0], metadata))
            outcomes = {targets[0]: outcome}
        else:
            outcomes = await self._change(act, user_id, targets, metadata, reset)
        await self._tell(user_id, username, outcomes)

    async def _targets(
        self, act: Act, user_id: str, username: str, ids: Sequence[str], usernames: Sequence[str]
    ) -> list[str]:
        """The ids named, each once, in the order of naming."""
        named = rules.check_named(act, user_id, username, ids, usernames)
        found = await self._users.ids_of_usernames(rules.possible_names(usernames)) if usernames else {}
        targets = dict.fromkeys([*named, *(found[name] for name in usernames if name in found)])
        if user_id in targets:
            raise OwnId(act.value)
        return list(targets)

    async def _change(
        self, act: Act, user_id: str, targets: Sequence[str], metadata: str, reset: bool
    ) -> dict[str, Outcome]:
        """Carry out an act on every target in one transaction, after `reset` of all edges; what came of each."""
        async with self._store.transaction() as tx:
            await self._store.lock(tx, [user_id, *targets])
            if not await self._store.exists(tx, user_id):
                raise AccountNotFound
            before = await self._store.standings(tx, [(user_id, target) for target in targets])
            counts = Counter(await self._store.take_all(tx, user_id, State.BLOCKED) if reset else {})
            outcomes: dict[str, Outcome] = {}
            work = _Work(self._now_ns(), counts)
            for target in targets:
                standing = before[user_id, target]
                if not standing.other_exists:
                    continue
                edges = rules.without_friendship(standing.edges) if reset else standing.edges
                outcome = work.decide(PairChange(act, user_id, target, metadata), edges)
                if standing.edges[0] == State.FRIEND and outcome is Outcome.JOINED:
                    # A friend before the reset: no news.
                    outcome = Outcome.NOTHING
                outcomes[target] = outcome
            await self._write(tx, work)
        return outcomes

    async def _change_pairs(self, tx: asyncpg.Connection, changes: Sequence[PairChange]) -> list[Outcome | Exception]:
        """Carry out acts between different pairs; what came of each."""
        await self._store.lock(tx, {player for one in changes for player in (one.user_id, one.target_id)})
        before = await self._store.standings(tx, [(one.user_id, one.target_id) for one in changes])
        work = _Work(self._now_ns(), Counter())
        outcomes: list[Outcome | Exception] = []
        for one in changes:
            standing = before[one.user_id, one.target_id]
            if not standing.one_exists:
                outcomes.append(AccountNotFound())
            elif not standing.other_exists:
                outcomes.append(Outcome.NOTHING)
            else:
                outcomes.append(work.decide(one, standing.edges))
        await self._write(tx, work)
        return outcomes

    async def _write(self, tx: asyncpg.Connection, work: _Work) -> None:
        await self._store.make(tx, work.made)
        await self._store.move(tx, work.moved)
        await self._store.delete(tx, work.gone)
        changes = {one: count for one, count in work.counts.items() if count}
        if changes:
            await self._users.add_edges(tx, changes)

    def _now_ns(self) -> int:
        return int(self._clock.now() * 1e9)

    async def _tell(self, user_id: str, username: str, outcomes: Mapping[str, Outcome]) -> None:
        """Publish what became of each, all at once: subscribers that write share their round trips."""
        happened: list[object] = []
        for target, outcome in outcomes.items():
            if outcome is Outcome.INVITED:
                happened.append(FriendInvited(target, user_id, username))
            elif outcome is Outcome.ACCEPTED:
                happened.append(FriendAccepted(target, user_id, username))
            elif outcome is Outcome.REMOVED:
                happened.append(FriendRemoved(target, user_id, username))
            elif outcome is Outcome.BLOCKED:
                happened.append(FriendBlocked(target, user_id))
            elif outcome is Outcome.JOINED:
                happened.append(FriendJoined(target, user_id, username))
        if len(happened) == 1:
            # As is usual, and without a task for it.
            await self._events.publish(happened[0])
        else:
            await asyncio.gather(*map(self._events.publish, happened))


def _page(user_id: str, rows: Sequence[EdgeRow], limit: int, users: Iterable[UserRecord]) -> FriendPage:
    known = {user.id: user for user in users}
    friends = [Friend(known[row[0]], row[1], row[3], row[4]) for row in rows[:limit] if row[0] in known]
    if len(rows) <= limit:
        return FriendPage(friends)
    then = rows[limit]
    return FriendPage(friends, rules.friends_cursor(user_id, rules.Position(then[1], then[2], then[0])))


class _Work:
    """What a transaction is about to write: edges to be kept and to go, and what that changes in the counters."""

    def __init__(self, now_ns: int, counts: Counter[str]) -> None:
        self.made: list[Edge] = []
        self.moved: list[Edge] = []
        self.gone: list[tuple[str, str]] = []
        self.counts = counts
        # Those named together keep the order in which they were named.
        self._next_ns = now_ns

    def decide(self, change: PairChange, edges: Edges) -> Outcome:
        """Add what an act does to the edges of its pair; what came of it."""
        after, outcome = rules.decide(change.act, edges)
        me, other, metadata = change.user_id, change.target_id, change.metadata
        # Friends who know each other from elsewhere bear that on both sides; other metadata is one's own.
        theirs = metadata if change.act is Act.BEFRIEND else NO_METADATA
        for (owner, friend, added), was, becomes in zip(
            ((me, other, metadata), (other, me, theirs)), edges, after, strict=True
        ):
            if was == becomes:
                continue
            if becomes is None:
                self.gone.append((owner, friend))
            else:
                (self.made if was is None else self.moved).append(Edge(owner, friend, becomes, self._next_ns, added))
            self.counts[owner] += (becomes is not None) - (was is not None)
        self._next_ns += 1
        return outcome
