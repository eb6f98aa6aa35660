"""What players believe about who is in a channel, from replies and events alone, is true in the end."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, cast

import pytest

from palestra.cluster.cache import Caches
from palestra.core.clock import ManualClock
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.events import EventBus
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.chat import feature
from palestra.features.chat.addresses import Addresses
from palestra.features.chat.channels import ChannelService
from palestra.features.chat.messages import ChatMessages
from palestra.features.chat.service import ChatService
from palestra.features.chat.store import ChatStore
from palestra.features.groups.contract import GroupDeleted, Happening, MemberChanged, State
from palestra.features.streams.contract import GROUP, ROOM, Stream
from palestra.features.streams.engine import PresenceEngine
from tests.gateway.websocket.node import TEXT, Client, Node

CLUB = "c1b00000-0000-4000-8000-000000000000"
CHANNELS = {
    "2...one": Stream(ROOM, label="one"),
    "2...two": Stream(ROOM, label="two"),
    f"3.{CLUB}..": Stream(GROUP, CLUB),
}
PLAYERS, STEPS = 6, 60


class Club:
    """A group whose members come and go while somebody asks who they are."""

    def __init__(self) -> None:
        self.banned: set[str] = set()

    async def state_of(self, group_id: str, user_id: str) -> int | None:
        """How a player stands to the club; the answer is as old as its last moment."""
        state = State.BANNED if user_id in self.banned else State.MEMBER
        for _ in range(3):
            await asyncio.sleep(0)
        return state


class Hall(Node):
    """A node with channels that keep nothing; hooks make it wait between a join and its reply."""

    def __init__(self) -> None:
        self.engine, self.club = PresenceEngine(), Club()
        nobody = cast(Any, None)
        addresses = Addresses(nobody, nobody, cast(Any, self.club))
        messages = ChatStore(Database(""), DatabaseSettings(), Caches(Tasks(), CacheSettings()))
        chat = ChatService(messages, self.engine, addresses, nobody, ManualClock())
        self.channels = ChannelService(chat, self.engine, addresses, EventBus(), Tasks())
        self.messages = feature.messages(ChatMessages(self.channels))
        super().__init__(self.messages)
        self.gateway.on_close(lambda socket, reason: self.engine.leave_all(socket.id))

    def hooked(self, seed: int) -> None:
        """Let an after-hook of joins take its time."""
        chance = random.Random(seed)

        async def linger(*_: Any) -> None:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

        self.messages[0].after = linger


class Believer:
    """A client that keeps the presences it was told of, by session id, for each channel it believes to be in."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.views: dict[str, set[str]] = {}
        self.session = ""
        self.replies: dict[str, str] = {}
        self.heard: list[dict[str, Any]] = []
        self._asked = 0

    def ask(self, kind: str, channel: str, **fields: Any) -> None:
        """Send a request without waiting for its reply."""
        self._asked += 1
        self.replies[str(self._asked)] = channel
        self.client.say({"cid": str(self._asked), kind: fields})

    def learn(self, envelope: dict[str, Any]) -> None:
        """Believe an envelope."""
        self.heard.append(envelope)
        if "channel" in envelope:
            reply = envelope["channel"]
            self.session = reply["self"]["session_id"]
            self.views[reply["id"]] = {one["session_id"] for one in reply.get("presences", ())}
        elif "channel_presence_event" in envelope:
            event = envelope["channel_presence_event"]
            channel = event["channel_id"]
            assert channel in self.views, "an event came before the reply to the join"
            assert not {one["session_id"] for one in event.get("leaves", ())} & {self.session}
            self.views[channel] |= {one["session_id"] for one in event.get("joins", ())}
            self.views[channel] -= {one["session_id"] for one in event.get("leaves", ())}
        elif set(envelope) == {"cid"}:
            self.views.pop(self.replies[envelope["cid"]], None)

    async def catch_up(self) -> None:
        """Read until the answer to a last ping."""
        self.client.say({"cid": "end", "ping": {}})
        while True:
            kind, payload = await self.client.read()
            assert kind == TEXT
            envelope = json.loads(payload)
            if envelope.get("cid") == "end":
                return
            self.learn(envelope)


@pytest.mark.parametrize("seed", range(12))
async def test_everybodys_view_is_the_truth_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    async with Hall() as hall:
        assert isinstance(hall, Hall)
        if seed % 2:
            hall.hooked(seed)
        names = [f"p{number}" for number in range(PLAYERS)]
        believers = [Believer(await hall.client(name)) for name in names]
        sockets = list(hall.gateway.sessions.values())
        for _ in range(STEPS):
            number = chance.randrange(len(believers))
            await step(hall, chance, believers[number], sockets[number].caller.user_id)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.04 and len(believers) > 2:
                await believers.pop(number).client.hang_up()
                sockets.pop(number)
        for _ in range(2):
            await asyncio.gather(*(one.catch_up() for one in believers))
        for channel, stream in CHANNELS.items():
            truth = {one.session_id for one in hall.engine.visible(stream)}
            for believer, socket in zip(believers, sockets, strict=True):
                if socket.id in hall.engine.audience(stream):
                    assert believer.views[channel] == truth, (seed, channel)
        for socket in sockets:
            assert socket.caller.user_id not in hall.club.banned or not [
                one for one in hall.engine.audience(Stream(GROUP, CLUB)) if one == socket.id
            ]


async def step(hall: Hall, chance: random.Random, believer: Believer, user_id: str) -> None:
    """Something happens."""
    channel = chance.choice(list(CHANNELS))
    what = chance.random()
    if what < 0.45:
        kind, target = (3, CLUB) if channel.startswith("3") else (1, channel[4:])
        hidden = chance.random() < 0.2
        believer.ask("channel_join", channel, target=target, type=kind, hidden=hidden, persistence=False)
    elif what < 0.7:
        believer.ask("channel_leave", channel, channel_id=channel)
    elif what < 0.85:
        believer.ask("channel_message_send", channel, channel_id=channel, content='{"t":1}')
    elif what < 0.93:
        hall.club.banned.add(user_id)
        await hall.channels.member_changed(MemberChanged(CLUB, "club", Happening.BANNED, user_id, "", ""))
    elif what < 0.97:
        hall.club.banned.discard(user_id)
    else:
        await hall.channels.group_deleted(GroupDeleted(CLUB))


async def test_a_thousand_who_come_at_once_share_their_events() -> None:
    async with Hall() as hall:
        believers = [Believer(await hall.client(f"p{number}")) for number in range(200)]
        for one in believers:
            one.ask("channel_join", "2...one", target="one", type=1, persistence=False)
        await asyncio.gather(*(one.catch_up() for one in believers))
        await asyncio.gather(*(one.catch_up() for one in believers))
        assert all(len(one.views["2...one"]) == 200 for one in believers)
        events = [len([one for one in believer.heard if "channel_presence_event" in one]) for believer in believers]
        assert max(events) < 40, max(events)
        for one in believers[:150]:
            one.ask("channel_leave", "2...one", channel_id="2...one")
        await asyncio.gather(*(one.catch_up() for one in believers))
        await asyncio.gather(*(one.catch_up() for one in believers))
        assert {len(one.views["2...one"]) for one in believers[150:]} == {50}
