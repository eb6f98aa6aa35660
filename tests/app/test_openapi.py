"""The client port described for machines: whole, valid, true on the wire, and shown to people."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from playwright.async_api import async_playwright
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from palestra import Context, Game
from palestra.app.build import table
from palestra.app.openapi import described
from palestra.gateway.operation import Auth, Operation
from palestra.testing import Bot, Platform

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES_MAX = 5
"""For each operation and each way of making requests."""
KNOWN = {
    "leaderboard_id": "weekly",
    "tournament_id": "cup",
    "owner_id": "{user}",
    "user_id": "{user}",
    "group_id": "{group}",
    "collection": "saves",
    "id": "echo",
}
"""Segments of paths under which there is something to find."""


def operations() -> list[Operation]:
    return [one for one in table() if isinstance(one, Operation)]


def made_game() -> Game:
    game = Game("described")

    @game.on_start
    async def start(ctx: Context) -> None:
        await ctx.leaderboards.create("weekly")
        await ctx.tournaments.create("cup", duration_seconds=3_600, title="Cup")

    @game.rpc
    async def echo(ctx: Context, request: Any) -> Any:
        return request

    return game


@pytest_asyncio.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(made_game(), database_url=database_url) as running:
        yield running


async def served(platform: Platform) -> dict[str, Any]:
    async with platform.http.get(f"{platform.url}/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        return await answer.json()


def test_the_document_is_valid_and_holds_every_operation_of_the_table() -> None:
    found = described(operations())
    validate(found)
    listed = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert listed == {(one.method, one.path) for one in operations() if one.auth is not Auth.SIGNATURE}
    told = [found["paths"][path][method.lower()] for method, path in listed]
    assert len({one["operationId"] for one in told}) == len(listed)


def test_numbers_times_and_texts_are_told_as_they_go_over_the_wire() -> None:
    schemas = described(operations())["components"]["schemas"]
    record, score = schemas["Record"]["properties"], schemas["Score"]["properties"]
    assert (record["score"]["type"], record["score"]["format"]) == ("string", "int64")
    assert record["create_time"] == {"type": "string", "format": "date-time"}
    assert record["metadata"]["contentMediaType"] == "application/json"
    fine = [0, 7.0, "12", -(2**63)]
    assert [one for one in fine if not Draft202012Validator(score["score"]).is_valid(one)] == []
    wrong = [1.5, "x", 2**63, True, None]
    assert [one for one in wrong if Draft202012Validator(score["score"]).is_valid(one)] == []
    assert [one for one in ("BEST", 1, "1") if not Draft202012Validator(score["operator"]).is_valid(one)] == []


async def test_a_node_serves_the_document_that_is_made_of_its_table(platform: Platform) -> None:
    found = await served(platform)
    assert found == described(operations()) == await served(platform)


# The node of this process draws random names while a thread makes requests.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_no_request_is_answered_otherwise_than_the_document_says(platform: Platform) -> None:
    found = await served(platform)
    schema = schemathesis.openapi.from_dict(found)
    faults: list[str] = []
    statuses: set[int] = set()
    for path, methods in found["paths"].items():
        for method, told in methods.items():
            bot = await platform.bot()
            known = await known_segments(platform, bot, path)
            operation = schema[path][method.upper()]
            strategies = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
            if known:
                strategies.append(operation.as_strategy(path_parameters=known))
            for strategy in strategies:
                fault = await asyncio.to_thread(first_fault, strategy, platform.url, bot, told, statuses)
                faults += [f"{method} {path}: {fault}"] if fault else []
    assert not faults, "\n".join(faults)
    assert statuses >= {200, 400, 401, 403, 404}


async def known_segments(platform: Platform, bot: Bot, path: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    values = {name: KNOWN[name].replace("{user}", bot.id) for name in names if name in KNOWN}
    if "group_id" in values:
        headers = {"authorization": f"Bearer {bot.token}"}
        async with platform.http.post(f"{platform.url}/v2/group", json={"name": bot.id}, headers=headers) as made:
            values["group_id"] = (await made.json())["id"]
    return values


def first_fault(strategy: Any, url: str, bot: Bot, told: dict[str, Any], statuses: set[int]) -> str:
    """What is wrong with the first answer that is not as described, "" for none; adds to `statuses`."""
    key = base64.b64encode(b"defaultkey:").decode()
    basic = told["security"][:1] == [{"serverKey": []}]
    headers = {"Authorization": f"Basic {key}" if basic else f"Bearer {bot.token}"}

    @settings(
        max_examples=EXAMPLES_MAX,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Case) -> None:
        answer = case.call_and_validate(base_url=url, headers=headers, checks=CHECKS)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, answer.text

    try:
        ask()
    except Unsatisfiable:  # an operation that takes nothing takes nothing wrong
        return ""
    except BaseException as fault:
        return f"{fault!r}"[:1_000]
    return ""


@pytest.mark.browser
async def test_people_find_an_operation_on_a_phone(platform: Platform) -> None:
    executable = os.environ.get("PALESTRA_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "this test needs Chromium on PATH (or its path in PALESTRA_TEST_CHROMIUM)"
    complaints: list[str] = []
    asked_for: set[str] = set()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 360, "height": 640})
        page.on("console", lambda told: complaints.append(told.text))
        page.on("pageerror", lambda told: complaints.append(str(told)))
        page.on("request", lambda asked: asked_for.add(asked.url.removeprefix(platform.url)))
        await page.goto(f"{platform.url}/openapi#storage.write")
        await page.wait_for_selector("[id='storage.write'] .inside >> text=WriteRequest")
        count = sum(len(methods) for methods in described(operations())["paths"].values())
        assert await page.text_content("#count") == f"{count} operations"
        await page.fill("#find", "fair VERIFY")
        assert await page.text_content("#count") == "1 operation"
        await page.click("summary >> text='/v2/palestra/fair/verify'")
        await page.wait_for_selector("text=server_seed >> visible=true")
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        await browser.close()
    assert complaints == []
    assert asked_for - {"data:,"} == {"/openapi", "/openapi/", "/openapi/page.css", "/openapi/page.js", "/openapi.json"}
