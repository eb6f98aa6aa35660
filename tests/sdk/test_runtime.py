"""Game code on a running node: functions, hooks, events; its errors, and what becomes of its bugs."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
import pytest

import palestra.core.errors as errors
from palestra import ClientEvent, Context, Game, GameError, responses
from palestra.core.config import RuntimeSettings, Settings
from palestra.core.errors import SetupError
from palestra.testing import BotError, Platform

BROKEN = "The game's code failed; the server's log says how."


class Claim(msgspec.Struct):
    day: Annotated[int, msgspec.Meta(ge=1)]
    tags: list[str] = []


class Reward(msgspec.Struct):
    coins: int
    vars: dict[str, str] = {}


class Unheard(BaseException):
    """Nothing that anybody would expect."""


async def told(waiting: Any) -> tuple[int, int, str]:
    with pytest.raises(BotError) as refused:
        await waiting
    return refused.value.status, refused.value.code, refused.value.message


def functions() -> Game:
    game = Game("functions")

    @game.rpc
    async def claim(ctx: Context, request: Claim) -> Reward:
        player = ctx.player
        player.vars["mine"] = "changed"
        return Reward(request.day * 10, player.vars)

    @game.rpc("echo.RAW/it")
    async def echo(ctx: Context, payload: str) -> str | None:
        return payload or None

    @game.rpc
    async def untyped(ctx: Context, request: Any):  # type: ignore[no-untyped-def]
        return request

    @game.rpc
    async def no_text(ctx: Context) -> str:
        return 5  # type: ignore[return-value]

    @game.rpc
    async def fail(ctx: Context, kind: str) -> None:
        await asyncio.sleep(0)
        match kind:
            case "name":
                raise GameError("by name", code="Already_Exists")
            case "number":
                raise GameError("by number", code=16)
            case "unknown":
                raise GameError("unknown", code="no such code")
            case "beyond":
                raise GameError("beyond", code=99)
            case "header":
                raise GameError("a\r\nset-cookie: b=c", code="unauthenticated")
            case "surrogate":
                raise GameError("broken \ud800", code="invalid_argument")
            case "away":
                raise errors.Unavailable("The shop is away.", retry_after_seconds=7)
            case "exit":
                raise SystemExit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "unheard":
                raise Unheard
            case "cancelled":
                raise asyncio.CancelledError
            case "deep":
                await fail(ctx, "deep")
            case "own time-out":
                async with asyncio.timeout(0):
                    await asyncio.sleep(1)
        raise KeyError("a bug")

    return game


async def test_typed_and_raw_functions_take_and_give_what_they_say(database_url: str) -> None:
    async with Platform.start(functions(), database_url=database_url) as platform:
        ann = await platform.bot(team="red")
        await ann.connect()
        for _ in range(2):
            # What a function does to the vars it is shown does not stick to the session.
            answer = await ann.rpc("claim", {"day": 2})
            assert answer == {"coins": 20, "vars": {"team": "red", "mine": "changed"}}
            assert "mine" not in platform.node.parts.services.sessions.verify(ann.token).vars
        assert await ann.call("POST", "/v2/rpc/ECHO.raw/it", "text") == {"payload": "text"}
        assert await ann.call("POST", "/v2/rpc/echo.raw/it", "") == {"payload": ""}
        assert (await ann.ask(rpc={"id": "Echo.Raw/It", "payload": "text"}))["rpc"]["payload"] == "text"
        assert await ann.rpc("untyped", {"a": [1]}) == {"a": [1]}
        assert await ann.call("POST", "/v2/rpc/untyped", '"as it is"') == {"payload": "as it is"}
        assert await told(ann.rpc("no_text")) == (500, 13, BROKEN)

        for payload, message in (
            ({"day": 0}, "invalid payload: Expected `int` >= 1 - at `$.day`"),
            ({}, "invalid payload: Object missing required field `day`"),
            ({"day": 1, "tags": ["a", 5]}, "invalid payload: Expected `str`, got `int` - at `$.tags[1]`"),
        ):
            assert await told(ann.rpc("claim", payload)) == (400, 3, message)
        assert (await told(ann.call("POST", "/v2/rpc/claim", "{")))[:2] == (400, 3)
        assert (await told(ann.call("POST", "/v2/rpc/untyped", "[" * 100_000)))[:2] == (400, 3)
        assert await told(ann.rpc("nothing")) == (404, 5, "RPC function not found")


async def test_refusals_reach_the_client_and_bugs_the_log_and_the_node_lives(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Platform.start(functions(), database_url=database_url) as platform:
        ann = await platform.bot()
        await ann.connect()

        async def fail(kind: str) -> tuple[int, int, str]:
            return await told(ann.call("POST", "/v2/rpc/fail", kind))

        assert await fail("name") == (409, 6, "by name")
        assert await fail("number") == (401, 16, "by number")
        assert await fail("unknown") == (500, 13, "unknown")
        assert await fail("beyond") == (500, 13, "beyond")
        assert await fail("surrogate") == (400, 3, "broken ?")
        assert await fail("away") == (503, 14, "The shop is away.")
        assert platform.node.parts.runtime.failures == 0
        bugs = ("exit", "interrupt", "unheard", "cancelled", "deep", "own time-out", "other")
        for number, kind in enumerate(bugs, 1):
            assert await fail(kind) == (500, 13, BROKEN), kind
            assert platform.node.parts.runtime.failures == number
        for kind in bugs:
            error = await told(ann.ask(rpc={"id": "fail", "payload": kind}))
            assert error == (0, 7, BROKEN), kind
        assert (await ann.ask(ping={})) == {"pong": {}}
        log = "".join(capfd.readouterr())
        assert "game code failed" in log and "KeyError: 'a bug'" in log and "RecursionError" in log

        headers = {"Authorization": f"Bearer {ann.token}"}
        for kind, header, value in (
            ("header", "www-authenticate", "a??set-cookie: b=c"),
            ("away", "retry-after", "7"),
        ):
            url = f"{platform.url}/v2/rpc/fail"
            async with platform.http.post(url, json=kind, headers=headers) as answer:
                assert answer.headers[header] == value
                assert "set-cookie" not in answer.headers


def hooks(seen: list[Any]) -> Game:
    game = Game("hooks")

    @game.before("accounts.update")
    async def first(ctx: Context, request: Any) -> Any:
        seen.append("first")
        if request.location == "nowhere":
            raise GameError("no such place", code="failed_precondition")
        if request.location == "bug":
            raise ValueError("a bug")
        if request.location == "wrong":
            return {"location": "a dict"}
        if request.location == "off":
            return None
        request.display_name = f"{ctx.operation} {ctx.player.username}"
        return request

    @game.before("accounts.update")
    async def second(ctx: Context, request: Any) -> Any:
        seen.append(("second", request.display_name))
        request.display_name += "!"
        return request

    @game.after("accounts.update")
    async def updated(ctx: Context, response: responses.AccountsUpdate, request: Any) -> None:
        seen.append(response)

    @game.after("accounts.get")
    async def spoil(ctx: Context, response: Any, request: Any) -> str:
        response.user.username = "spoilt"
        response.devices.clear()
        seen.append("after get")
        raise GameError("in vain")

    @game.before("matches.create")
    async def no_matches(ctx: Context, request: Any) -> Any:
        seen.append(ctx.session_id is not None)
        if request.name == "refused":
            raise GameError("not this one", code="permission_denied")
        return None if request.name == "off" else request

    @game.after("matches.create")
    async def made(ctx: Context, response: Any, request: Any) -> None:
        seen.append(response.match_id)
        response.match_id = "spoilt"

    @game.before("accounts.authenticate_device")
    async def stranger(ctx: Context, request: Any) -> Any:
        assert ctx.caller is None
        return request

    return game


async def test_hooks_change_refuse_and_switch_off_in_the_order_of_their_declaration(database_url: str) -> None:
    seen: list[Any] = []
    async with Platform.start(hooks(seen), database_url=database_url) as platform:
        ann = await platform.bot("ann")

        def update(location: str) -> Any:
            return ann.call("PUT", "/v2/account", {"location": location})

        await update("here")
        assert seen == ["first", ("second", "accounts.update ann"), responses.AccountsUpdate()]
        assert await told(update("nowhere")) == (400, 9, "no such place")
        assert await told(update("bug")) == (500, 13, BROKEN)
        assert await told(update("wrong")) == (500, 13, BROKEN)
        assert await told(update("off")) == (404, 5, "Requested resource was not found.")
        assert seen[3:] == ["first"] * 4

        account = await ann.call("GET", "/v2/account")
        assert account["user"]["username"] == "ann" and len(account["devices"]) == 1
        assert account["user"]["display_name"] == "accounts.update ann!"
        assert account["user"]["location"] == "here"
        assert seen[7:] == ["after get"]


async def test_hooks_of_socket_messages_refuse_keep_the_socket_or_switch_off_and_close_it(database_url: str) -> None:
    seen: list[Any] = []
    async with Platform.start(hooks(seen), database_url=database_url) as platform:
        ann = await platform.bot()
        await ann.connect()
        assert (await told(ann.ask(match_create={"name": "refused"})))[2] == "not this one"
        match = (await ann.ask(match_create={}))["match"]
        assert seen == [True, True, match["match_id"]] and match["match_id"] != "spoilt"
        assert (await told(ann.ask(match_create={"name": "off"})))[0] == 0
        assert await ann.closed() is not None


def overstays() -> Game:
    game = Game("overstays")

    @game.before("accounts.update")
    async def slow(ctx: Context, request: Any) -> Any:
        match request.location:
            case "waits":
                await asyncio.sleep(60)
            case "loops":
                while True:
                    pass
            case "sleeps":
                time.sleep(60)  # noqa: ASYNC251
            case "swallows":
                while True:
                    try:
                        while True:
                            pass
                    except Exception:
                        continue
        return request

    return game


async def test_after_hooks_of_socket_messages_keep_nobody_waiting(database_url: str) -> None:
    game, goes_on, seen = Game("patient"), asyncio.Event(), asyncio.Event()

    @game.after("matches.create")
    async def slow(ctx: Context, response: Any, request: Any) -> None:
        seen.set()
        await goes_on.wait()

    async with Platform.start(game, database_url=database_url) as platform:
        bot = await platform.bot()
        await bot.connect()
        match = (await bot.ask(match_create={}))["match"]
        assert (await bot.push("match_presence_event"))["joins"][0]["session_id"] == match["self"]["session_id"]
        await seen.wait()
        waiting = asyncio.ensure_future(bot.ask(ping={}))
        goes_on.set()
        assert await waiting == {"pong": {}}


async def test_a_hook_that_overstays_is_cut_off_and_counted_and_others_are_served(database_url: str) -> None:
    settings = Settings(runtime=RuntimeSettings(hook_seconds_max=0.2))
    async with Platform.start(overstays(), database_url=database_url, settings=settings) as platform:
        ann, bob = await platform.bot(), await platform.bot()
        for number, kind in enumerate(("waits", "loops", "sleeps", "swallows"), 1):
            cut, _ = await asyncio.gather(
                told(ann.call("PUT", "/v2/account", {"location": kind})), bob.call("GET", "/v2/account")
            )
            assert cut == (504, 4, "The game's code took longer than 0.2 s.")
            assert platform.node.parts.runtime.bounds.cut_off == number
        await ann.call("PUT", "/v2/account", {"location": "fine"})
        async with platform.http.get(f"{platform.console_url}/metrics") as answer:
            assert "palestra_game_cut_off_total 4.0" in await answer.text()


async def test_events_of_clients_and_of_the_server_reach_every_handler_and_a_bug_in_one_stops_nothing(
    database_url: str,
) -> None:
    seen: asyncio.Queue[ClientEvent] = asyncio.Queue()
    game, other = Game("events"), Game("other")

    @game.on_event
    async def breaks(ctx: Context, event: ClientEvent) -> None:
        raise SystemExit("a bug")

    @other.on_event
    async def hears(ctx: Context, event: ClientEvent) -> None:
        await seen.put(event)

    @other.rpc
    async def report(ctx: Context) -> None:
        ctx.events.send("of the server", {"a": "b"})

    async with Platform.start(game, other, database_url=database_url) as platform:
        ann = await platform.bot()
        await ann.connect()
        event = {"name": "of ann", "properties": {"k": "v"}, "timestamp": "2026-01-02T03:04:05Z", "external": False}
        assert await ann.call("POST", "/v2/event", event) == {}
        await ann.rpc("report")
        first, second = await seen.get(), await seen.get()
        assert (first.name, first.properties, first.external) == ("of ann", {"k": "v"}, True)
        assert first.caller is not None and first.caller.user_id == ann.id
        assert first.timestamp.isoformat() == "2026-01-02T03:04:05+00:00"
        assert (second.name, second.external, second.caller) == ("of the server", False, None)
        assert platform.node.parts.runtime.failures == 2


@pytest.mark.parametrize("error", [KeyError("missing"), GameError("not today"), SystemExit(1)])
async def test_a_game_that_fails_at_start_says_where_and_the_node_does_not_serve(
    database_url: str, error: BaseException
) -> None:
    game = Game("unlucky")

    @game.on_start
    async def start(ctx: Context) -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(SetupError) as refused:
        async with Platform.start(game, database_url=database_url):
            pass
    text = str(refused.value)
    assert "unlucky: " in text and f"({__file__}:" in text and "raise error" in text
    assert type(error).__name__ in text


async def test_a_function_sees_who_calls_and_how(database_url: str) -> None:
    game = Game("context")

    @game.rpc
    async def look(ctx: Context) -> dict[str, Any]:
        return {
            "caller": ctx.caller.id if ctx.caller else None,
            "query": ctx.query,
            "agent": ctx.headers.get("x-agent"),
            "ip": ctx.client_ip,
            "socket": ctx.session_id is not None,
            "env": dict(ctx.env),
        }

    settings = Settings(runtime=RuntimeSettings(env={"season": "3"}))
    async with Platform.start(game, database_url=database_url, settings=settings) as platform:
        ann = await platform.bot()
        url = f"{platform.url}/v2/rpc/look?a=1&a=%C3%A9&{'&'.join(['b'] * 1500)}"
        async with platform.http.get(url, headers={"Authorization": f"Bearer {ann.token}", "X-Agent": "7"}) as answer:
            found = msgspec.json.decode((await answer.json())["payload"])
        assert found["caller"] == ann.id
        assert (found["query"]["a"], found["agent"], found["ip"]) == (["1", "é"], ["7"], "127.0.0.1")
        assert (found["socket"], found["env"]) == (False, {"season": "3"})
        async with platform.http.get(f"{platform.url}/v2/rpc/look?http_key=defaulthttpkey&a=1") as answer:
            found = msgspec.json.decode((await answer.json())["payload"])
        assert (found["caller"], found["query"]) == (None, {"a": ["1"]})
        await ann.connect()
        assert msgspec.json.decode((await ann.ask(rpc={"id": "look"}))["rpc"]["payload"])["socket"]
