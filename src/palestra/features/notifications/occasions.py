"""Occasions on which the platform itself notifies players: what friends, groups and partners in talk do."""

from __future__ import annotations

from palestra.features.chat.contract import ConversationOpened
from palestra.features.friends.contract import FriendAccepted, FriendInvited, FriendJoined, FriendRemoved
from palestra.features.groups.contract import Happening, JoinRequested, MemberChanged
from palestra.features.notifications.contract import Notices, PlatformCode


class Occasions:
    """Turns events into notifications. Subjects and contents are part of the protocol."""

    def __init__(self, notices: Notices) -> None:
        self._tell = notices.tell

    async def friend_invited(self, event: FriendInvited) -> None:
        """Somebody wants to be a friend."""
        await self._tell_friend(event, PlatformCode.FRIEND_REQUEST, "wants to add you as a friend")

    async def friend_accepted(self, event: FriendAccepted) -> None:
        """An invitation was accepted."""
        await self._tell_friend(event, PlatformCode.FRIEND_ACCEPTED, "accepted your friend request")

    async def friend_joined(self, event: FriendJoined) -> None:
        """A friend from elsewhere plays here now."""
        subject, content = "Your friend has just joined the game", {"username": event.from_username}
        await self._tell([event.user_id], PlatformCode.FRIEND_JOINED_GAME, subject, content, event.from_user_id)

    async def friend_removed(self, event: FriendRemoved) -> None:
        """A friendship or an invitation has ended."""
        await self._tell_friend(event, PlatformCode.FRIEND_REMOVED, "removed you as a friend")

    async def _tell_friend(
        self, event: FriendInvited | FriendAccepted | FriendRemoved, code: PlatformCode, what: str
    ) -> None:
        name = event.from_username
        await self._tell([event.user_id], code, f"{name} {what}", {"username": name}, event.from_user_id)

    async def conversation_opened(self, event: ConversationOpened) -> None:
        """Somebody waits in a direct channel."""
        subject, content = f"{event.from_username} wants to chat", {"username": event.from_username}
        await self._tell([event.user_id], PlatformCode.CHAT_REQUEST, subject, content, event.from_user_id)

    async def join_requested(self, event: JoinRequested) -> None:
        """Somebody asks those in charge of a group to be let in."""
        subject = f"User {event.username} wants to join your group"
        content = {"group_id": event.group_id, "username": event.username}
        await self._tell(event.admin_ids, PlatformCode.GROUP_JOIN_REQUEST, subject, content, event.user_id)

    async def member_changed(self, event: MemberChanged) -> None:
        """Somebody was let into a group; the rest is told in its channel."""
        if event.happening is Happening.ADDED:
            subject = f"You've been added to group {event.group_name}"
            content = {"group_id": event.group_id, "name": event.group_name}
            await self._tell([event.user_id], PlatformCode.GROUP_ADDED, subject, content, event.by_user_id)
