"""The one path of every call: limits, hooks, counters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from palestra.core.errors import Code, NotFound, Overloaded, PalestraError, Unavailable
from palestra.gateway.dispatch import Disabled, Dispatcher, HookFailed
from palestra.gateway.operation import Auth, Call, Hook, Operation


async def echo(call: Call, request: Any) -> Any:
    return request


async def run(operation: Operation, request: Any = "asked", dispatcher: Dispatcher | None = None) -> Any:
    return await (dispatcher or Dispatcher(10)).run(operation, Call(operation, None), request)


def made(handler: Any = echo, before: Hook | None = None, after: Hook | None = None) -> Operation:
    return Operation("things.do", "POST", "/do", Auth.NONE, handler, before=before, after=after)


async def test_a_before_hook_may_change_what_is_asked() -> None:
    async def before(call: Call, request: str) -> str:
        return request + " politely"

    assert await run(made(before=before)) == "asked politely"


async def test_a_before_hook_that_returns_nothing_switches_the_operation_off() -> None:
    seen: list[Any] = []

    async def before(call: Call, request: str) -> None:
        return None

    async def handler(call: Call, request: str) -> None:
        seen.append(request)

    operation = made(handler, before)
    with pytest.raises(Disabled, match=r"^Requested resource was not found\.$") as refusal:
        await run(operation)
    assert refusal.value.code is Code.NOT_FOUND
    assert seen == []
    assert operation.stats.by_code[Code.NOT_FOUND] == 1


async def test_a_before_hook_refuses_with_its_own_code_and_text() -> None:
    async def before(call: Call, request: str) -> None:
        raise PalestraError("not today", code=Code.ABORTED)

    with pytest.raises(HookFailed, match="not today") as refusal:
        await run(made(before=before))
    assert refusal.value.code is Code.ABORTED


async def test_an_after_hook_sees_the_answer_and_runs_only_after_success() -> None:
    seen: list[Any] = []

    async def after(call: Call, response: Any, request: Any) -> str:
        seen.append((response, request))
        return "something else"

    async def refuse(call: Call, request: Any) -> None:
        raise NotFound("no such thing")

    assert await run(made(after=after)) == "asked"
    with pytest.raises(NotFound):
        await run(made(refuse, after=after))
    assert seen == [("asked", "asked")]


async def test_calls_beyond_the_limit_are_refused_at_once_and_the_limit_frees_itself() -> None:
    gate = asyncio.Event()

    async def wait(call: Call, request: Any) -> Any:
        await gate.wait()
        return request

    dispatcher, operation = Dispatcher(2), made(wait)
    waiting = [asyncio.create_task(run(operation, number, dispatcher)) for number in range(2)]
    await asyncio.sleep(0)
    assert dispatcher.in_flight == 2
    with pytest.raises(Overloaded):
        await run(operation, 3, dispatcher)
    waiting[1].cancel()
    gate.set()
    assert (await asyncio.gather(*waiting, return_exceptions=True))[0] == 0
    assert dispatcher.in_flight == 0
    assert await run(operation, 4, dispatcher) == 4
    assert operation.stats.by_code[Code.RESOURCE_EXHAUSTED] == 1


async def test_each_outcome_is_counted_under_its_code() -> None:
    async def fail(call: Call, request: Exception) -> None:
        raise request

    operation = made(fail)
    for error in (NotFound("x"), Unavailable(), ZeroDivisionError(), NotFound("y")):
        with pytest.raises(type(error)):
            await run(operation, error)
    counted = {Code(code): count for code, count in enumerate(operation.stats.by_code) if count}
    assert counted == {Code.NOT_FOUND: 2, Code.UNAVAILABLE: 1, Code.INTERNAL: 1}
    assert operation.stats.seconds > 0
