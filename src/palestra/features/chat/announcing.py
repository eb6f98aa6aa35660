"""What happens to the members of a group, told in the group's channel."""

from __future__ import annotations

from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.features.chat.contract import Chat
from palestra.features.groups.contract import MemberChanged

log = get_logger(__name__)


class Announcements:
    """Turns events of groups into messages of the member they are about; code and content are part of the protocol."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def member_changed(self, event: MemberChanged) -> None:
        """Somebody came, went or changed rank. That is committed, so a message that cannot be kept fails nobody."""
        channel = f"3.{event.group_id}.."
        try:
            await self._chat.send(channel, {}, event.user_id, event.username, code=event.happening)
        except PalestraError as error:
            log.warning("a group was not told", group=event.group_id, code=event.happening.name, reason=error.message)
