"""Streams, sockets and sessions as game code meets them, on a whole node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from palestra import Context, Game, Presence, SessionEvent, Stream
from palestra.testing import Bot, BotError, Platform

NEWS = Stream(20, label="news")


class Script:
    """A game whose code is what a test says: `run` gives it a context of a call over the bot's socket."""

    def __init__(self) -> None:
        self.game = Game("script")
        self.sessions: list[tuple[str, str, str, dict[str, str]]] = []
        self.arrived = asyncio.Event()
        self._code: Callable[[Context], Awaitable[object]] | None = None
        self.result: object = None

        @self.game.rpc
        async def run(ctx: Context) -> None:
            assert self._code is not None
            self.result = await self._code(ctx)

        @self.game.on_session_start
        async def started(ctx: Context, event: SessionEvent) -> None:
            self._note(event)
            await ctx.streams.join(event.session_id, Stream(21), hidden=True)

        @self.game.on_session_end
        async def ended(ctx: Context, event: SessionEvent) -> None:
            self._note(event)
            raise KeyError("a bug ends nothing")

    def _note(self, event: SessionEvent) -> None:
        self.sessions.append((event.name, event.caller.username, event.session_id, event.properties))
        self.arrived.set()

    async def run(self, bot: Bot, code: Callable[[Context], Awaitable[object]]) -> object:
        """Run code as a function that the bot calls over its socket; what it returned."""
        self._code = code
        await bot.ask(rpc={"id": "run"})
        return self.result

    async def refused(self, bot: Bot, code: Callable[[Context], Awaitable[object]]) -> str:
        """The message with which code was refused."""
        self._code = code
        with pytest.raises(BotError) as caught:
            await bot.ask(rpc={"id": "run"})
        return caught.value.message


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def platform(database_url: str, script: Script) -> AsyncIterator[Platform]:
    async with Platform.start(script.game, database_url=database_url) as platform:
        yield platform


async def connected(platform: Platform, *names: str) -> list[Bot]:
    bots = [await platform.bot(name) for name in names]
    for bot in bots:
        await bot.connect()
    return bots


async def heard(bot: Bot, kind: str) -> list[object]:
    await bot.ask(ping={})
    found = [one[kind] for one in bot.pushes if kind in one]
    bot.pushes.clear()
    return found


async def test_game_code_joins_changes_looks_and_puts_out(platform: Platform, script: Script) -> None:
    ann, bob = await connected(platform, "ann", "bob")

    async def join(ctx: Context) -> object:
        return await ctx.streams.join(ctx.session_id or "", NEWS, status="first")

    assert await script.run(ann, join) is True
    assert await script.run(bob, join) is True

    async def look(ctx: Context) -> object:
        own = await ctx.streams.get(ctx.session_id or "", NEWS)
        nobody = await ctx.streams.get("nobody", NEWS)
        return own, nobody, await ctx.streams.count(NEWS), [one.username for one in await ctx.streams.users(NEWS)]

    own, nobody, count, users = await script.run(ann, look)  # type: ignore[misc]
    assert isinstance(own, Presence)
    assert (own.username, own.status, nobody, count, users) == ("ann", "first", None, 2, ["ann", "bob"])

    async def change(ctx: Context) -> object:
        hides = await ctx.streams.update(ctx.session_id or "", NEWS, hidden=True)
        shown = [one.username for one in await ctx.streams.users(NEWS)]
        hidden = [one.username for one in await ctx.streams.users(NEWS, hidden=True, visible=False)]
        return hides, await ctx.streams.update("nobody", NEWS, status="x"), shown, hidden

    await heard(bob, "stream_presence_event")
    assert await script.run(ann, change) == (True, False, ["bob"], ["ann"])
    (event,) = await heard(bob, "stream_presence_event")
    assert [one["username"] for one in event["leaves"]] == ["ann"] and "joins" not in event  # type: ignore[index]

    async def kick(ctx: Context) -> object:
        for one in await ctx.streams.users(NEWS):
            await ctx.streams.kick(one, NEWS)
        return [one.username for one in await ctx.streams.users(NEWS, hidden=True)]

    assert await script.run(ann, kick) == ["ann"]


async def test_game_code_reads_channels_and_puts_players_out_of_them(platform: Platform, script: Script) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    for bot in (ann, bob):
        await bot.ask(channel_join={"target": "lobby", "type": 1})
    room = Stream(2, label="lobby")
    await heard(ann, "channel_presence_event")

    async def kick(ctx: Context) -> object:
        everybody = await ctx.streams.users(room)
        await ctx.streams.kick(everybody[1], room)
        await ctx.streams.send(room, "quiet, please")
        return [one.username for one in everybody]

    assert await script.run(ann, kick) == ["ann", "bob"]
    stream = {"mode": 2, "label": "lobby"}
    assert await heard(ann, "stream_data") == [{"stream": stream, "data": "quiet, please", "reliable": True}]
    assert await heard(bob, "stream_data") == []
    text = "Must join channel before sending messages"
    with pytest.raises(BotError, match=text):
        await bob.ask(channel_message_send={"channel_id": "2...lobby", "content": "{}"})

    async def meddle(ctx: Context) -> object:
        return await ctx.streams.close(Stream(7, "some party"))

    assert (await script.refused(ann, meddle)).startswith("Stream mode 7 is not for game modules")


async def test_game_code_sends_to_some_and_any_envelope(platform: Platform, script: Script) -> None:
    ann, bob, cid = await connected(platform, "ann", "bob", "cid")

    async def of_bob(ctx: Context) -> object:
        return await ctx.sockets.of_player(bob.id)

    (bobs,) = await script.run(ann, of_bob)  # type: ignore[misc]
    told = {"notifications": {"notifications": [{"id": "1", "subject": "hi", "content": "{}", "code": 1}]}}

    async def send(ctx: Context) -> object:
        await ctx.streams.send(NEWS, "for bob", [bobs, bobs, "nobody"], reliable=False)
        await ctx.streams.send_raw(NEWS, told, [bobs])
        return await ctx.sockets.send([bobs, "nobody"], told), await ctx.sockets.send_to_player(cid.id, told)

    assert await script.run(ann, send) == (1, 1)
    await bob.ask(ping={})
    data = {"stream": {"mode": 20, "label": "news"}, "data": "for bob"}
    assert list(bob.pushes) == [{"stream_data": data}, told, told]
    bob.pushes.clear()
    assert await heard(cid, "notifications") == [told["notifications"]]
    envelopes: list[dict[str, object]] = [
        {},
        {"teleport": {}},
        {**told, "pong": {}},
        {"notifications": [1]},
        {"cid": "1", **told},
        {"rpc": {"payload": object()}},
        {"rpc": {"payload": "x" * (1 << 18)}},
    ]
    for envelope in envelopes:

        async def bad(ctx: Context, envelope: dict[str, object] = envelope) -> object:
            return await ctx.sockets.send([bobs], envelope)

        assert (await script.refused(ann, bad)).startswith("An envelope is")

    async def long(ctx: Context) -> object:
        return await ctx.streams.send(NEWS, "x" * ((1 << 18) + 1))

    assert (await script.refused(ann, long)).startswith("What is sent to a stream")
    assert await heard(bob, "notifications") == []


async def test_game_code_hangs_up_and_hears_of_starts_and_ends(platform: Platform, script: Script) -> None:
    ann, bob = await connected(platform, "ann", "bob")

    async def hang_up(ctx: Context) -> object:
        (bobs,) = await ctx.sockets.of_player(bob.id)
        unknown = await ctx.sockets.disconnect("nobody")
        return bobs, await ctx.sockets.disconnect(bobs, "good night"), unknown, await ctx.streams.count(Stream(21))

    bobs, done, unknown, greeted = await script.run(ann, hang_up)  # type: ignore[misc]
    assert (done, unknown, greeted) == (True, False, 2)
    assert await bob.closed() == 1000
    await ann.leave()
    async with asyncio.timeout(5):
        while len(script.sessions) < 4:
            script.arrived.clear()
            await script.arrived.wait()
    names = [(name, username) for name, username, _, _ in script.sessions]
    assert names == [("session_start", "ann"), ("session_start", "bob"), ("session_end", "bob"), ("session_end", "ann")]
    assert script.sessions[2][2:] == (bobs, {"reason": "good night"})
    assert script.sessions[3][3] == {"reason": ""}
