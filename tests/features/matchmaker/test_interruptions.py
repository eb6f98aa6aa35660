"""Searches that are interrupted: what happens in between, and what goes wrong in them, harms nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import MatchmakerSettings
from palestra.core.tasks import Tasks
from palestra.features.matchmaker.maker import SLICE_SECONDS
from palestra.features.matchmaker.service import MatchmakerService
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime
from tests.features.matchmaker.test_service import FUSSY, PAIR, Line, Tokens, add
from tests.features.matchmaker.waiting import Waiting, sessions_of


class Busy(ManualClock):
    """Time that passes so fast that each slice of work is one step."""

    def monotonic(self) -> float:
        self.advance(SLICE_SECONDS)
        return super().monotonic()


def made(clock: ManualClock, tasks: Tasks | None = None) -> MatchmakerService:
    matches: Any = Tokens()
    return MatchmakerService(MatchmakerSettings(), matches, Runtime(Bounds(1)), tasks or Tasks(), clock)


async def test_a_session_that_ends_while_a_running_match_is_filled_harms_nobody() -> None:
    service = made(Busy())
    lines = [Line(f"p{number}") for number in range(6)]
    for line in lines:
        add(service, line, FUSSY)
    while service.maker.engine.next_at() == 0:
        service.work()
    await service.backfill("m", 2, players=0, properties={"no": "body"})
    for _ in range(20):
        service.work()
        if len(service.maker.engine.pool) == 5:
            service.session_ended(lines[0].id)
    assert len(lines[0].sent) == 1
    assert len(lines[1].sent) == 1
    assert {ticket.id for ticket in service.own} == {ticket.id for ticket in service.maker.engine.pool}
    assert service.matched == 2


async def test_a_search_that_fails_is_logged_and_matches_are_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = Tasks()
    service = made(ManualClock(), tasks)

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("a bug")

    service.start()
    ann, bob = Line("ann"), Line("bob")
    with monkeypatch.context() as patched:
        patched.setattr("palestra.features.matchmaker.engine.around", broken)
        add(service, ann)
        for _ in range(5):
            await asyncio.sleep(0)
    add(service, bob, PAIR)
    for _ in range(5):
        await asyncio.sleep(0)
    assert ann.sent
    assert bob.sent
    assert "a bug" in capsys.readouterr().out
    await tasks.stop()


def test_whoever_is_easily_matched_does_not_wait_for_searches_that_take_long() -> None:
    waiting = Waiting()
    for number in range(200):
        waiting.add(f"fussy-{number}", query="+properties.no:/body/")
    waiting.add("ann", query="+properties.mode:duel", mode="duel")
    waiting.add("bob", query="+properties.mode:duel", mode="duel")
    formed: list[list[str]] = []
    steps = 0
    while not formed:
        left = iter(range(50))
        found = waiting.engine.step(0.0, lambda left=left: next(left, None) is None)
        formed = [sessions_of(group) for group in found]
        steps += 1
    assert formed == [["ann", "bob"]]
    assert steps < 10
    assert waiting.run() == []
    assert len(waiting.waiting()) == 200
    assert waiting.engine.next_at() is None


def test_a_late_search_that_was_interrupted_has_its_turn() -> None:
    waiting = Waiting()
    names = [f"p{number}" for number in range(40)]
    for name in names:
        waiting.add(name, query="+properties.a:/x/", a="x")
    formed: list[str] = []
    for _ in range(1_000):
        left = iter(range(2))
        for group in waiting.engine.step(0.0, lambda left=left: next(left, None) is None):
            formed += sessions_of(group)
    assert sorted(formed) == sorted(names)


async def test_why_a_ticket_waits_is_told_of_as_many_as_there_is_time_for() -> None:
    service = made(Busy())
    for number in range(200):
        add(service, Line(f"p{number}"), FUSSY)
    why = await service.explain(next(iter(service.own)).id)
    assert 0 < why.looked_at < 199
    assert why.counts == {"query": why.looked_at}
