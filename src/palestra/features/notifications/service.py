"""What can be done with notifications; implements the contract's `Notifications` and `Notices`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from msgspec.structs import replace

from palestra.core.clock import Clock, utc
from palestra.core.errors import Overloaded, PalestraError, Unavailable
from palestra.core.ids import SYSTEM_USER, new_id
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.notifications import rules, wire
from palestra.features.notifications.contract import (
    BROADCASTS_MAX,
    NOTIFICATIONS_MAX,
    PAGE_MAX,
    SUBJECT_CHARS_MAX,
    BadLimit,
    DeleteRefused,
    NewNotification,
    Notification,
    NotificationChange,
    NotificationPage,
    PlatformCode,
    TooManyBroadcasts,
)
from palestra.features.notifications.store import NotificationStore
from palestra.features.streams.contract import ConnectedSockets
from palestra.gateway.operation import Session

TICK = timedelta(microseconds=1)
RETRY_SECONDS = 1.0
"""How long a broadcast waits when the database is away or busy."""

log = get_logger(__name__)


class NotificationService:
    """Notifications for clients, game code and other features."""

    def __init__(
        self,
        store: NotificationStore,
        sockets: ConnectedSockets,
        tasks: Tasks,
        clock: Clock,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._sockets = sockets
        self._tasks = tasks
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._sent_at: datetime = rules.NO_TIME
        self._broadcasts = 0

    # -- sending

    async def send(
        self,
        user_ids: str | Sequence[str],
        subject: str,
        content: Mapping[str, Any],
        code: int,
        sender_id: str = "",
        persistent: bool = True,
    ) -> list[Notification]:
        """See Notifications.send."""
        named = [user_ids] if isinstance(user_ids, str) else user_ids
        rules.check_count(named)
        rules.check_code(code)
        draft = rules.draft(subject, content, code, sender_id, persistent)
        players = dict.fromkeys(map(rules.user_id, named))
        return await self._deliver([replace(draft, id=new_id(), user_id=player) for player in players])

    async def send_many(self, notifications: Sequence[NewNotification]) -> list[Notification]:
        """See Notifications.send_many."""
        return await self._deliver([replace(draft, id=new_id()) for draft in rules.drafts(notifications)])

    async def send_all(self, subject: str, content: Mapping[str, Any], code: int, persistent: bool = True) -> None:
        """See Notifications.send_all."""
        rules.check_code(code, for_all=True)
        draft = replace(rules.draft(subject, content, code, "", persistent), id=new_id(), created_at=self._next_time())
        if not persistent:
            self._push([draft], self._sockets.sessions.values())
            return
        if self._broadcasts >= BROADCASTS_MAX:
            raise TooManyBroadcasts
        self._broadcasts += 1
        self._tasks.spawn(self._tell_everybody(draft), "notification for everybody")

    async def _tell_everybody(self, draft: Notification) -> None:
        last, players = SYSTEM_USER, 0
        finished = False
        try:
            while not finished:
                try:
                    page = await self._store.players_after(last, NOTIFICATIONS_MAX)
                    await self._deliver([rules.copy_for(player, draft) for player in page])
                except (Overloaded, Unavailable) as error:
                    log.warning("notification for everybody waits", reason=error.message)
                    await asyncio.sleep(self._retry_seconds)
                    continue
                players += len(page)
                finished = not page
                last = page[-1] if page else last
        finally:
            self._broadcasts -= 1
            log.info("notification for everybody", code=draft.code, players=players, finished=finished)

    async def tell(
        self, user_ids: Sequence[str], code: PlatformCode, subject: str, content: Mapping[str, Any], sender_id: str
    ) -> None:
        """See Notices.tell."""
        draft = rules.draft(subject[:SUBJECT_CHARS_MAX], content, code, sender_id)
        try:
            await self._deliver([replace(draft, id=new_id(), user_id=player) for player in user_ids])
        except PalestraError as error:
            log.warning("players were not notified", code=code.name, players=len(user_ids), reason=error.message)

    async def _deliver(self, drafts: Sequence[Notification]) -> list[Notification]:
        """Store what is to be kept, push that and the rest, and return what was kept; the first failure is raised."""
        # No two of this node have the same time, and they are queued in the order of their times: see the store.
        sent = [replace(draft, created_at=self._next_time()) for draft in drafts]
        asked = [one for one in sent if one.persistent]
        outcomes = await self._store.keep(asked)
        kept = [one for one, outcome in zip(asked, outcomes, strict=True) if outcome is True]
        kept_ids = {one.id for one in kept}
        of_player: dict[str, list[Notification]] = {}
        for one in sent:
            if not one.persistent or one.id in kept_ids:
                of_player.setdefault(one.user_id, []).append(one)
        for player, notifications in of_player.items():
            self._push(notifications, self._sockets.of_user(player))
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return kept

    def _push(self, notifications: Sequence[Notification], sessions: Collection[Session]) -> None:
        if sessions:
            push = wire.push_of(notifications)
            for session in sessions:
                session.send(push)

    def _next_time(self) -> datetime:
        self._sent_at = max(utc(self._clock.now()), self._sent_at + TICK)
        return self._sent_at

    # -- the inbox

    async def list(self, user_id: str, limit: int = PAGE_MAX, cursor: str = "") -> NotificationPage:
        """See Notifications.list."""
        player = rules.user_id(user_id)
        if not 1 <= limit <= PAGE_MAX:
            raise BadLimit
        found = await self._store.list(player, rules.inbox_start(player, cursor), limit)
        return NotificationPage(found, rules.inbox_cursor(player, found, cursor))

    async def get(self, ids: Sequence[str], user_id: str | None = None) -> Sequence[Notification]:
        """See Notifications.get."""
        return await self._store.get(rules.notification_ids(ids), None if user_id is None else rules.user_id(user_id))

    async def update(self, changes: Sequence[NotificationChange]) -> None:
        """See Notifications.update."""
        if changes:
            await self._store.update(rules.changed_columns(changes))

    async def delete(self, ids: Sequence[str], user_id: str | None = None) -> None:
        """See Notifications.delete."""
        found = rules.notification_ids(ids, DeleteRefused)
        if found:
            await self._store.delete(found, None if user_id is None else rules.user_id(user_id))

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """See Notifications.forget."""
        await self._store.forget(tx, user_id)
