"""Fair draws as players meet them: a game on a whole node, the endpoints, and the verifiers of the guide."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from palestra import Context, Game
from palestra.testing import BotError, Platform
from tests.docs.pages import DOCS, sources

FAIR = "/v2/palestra/fair"
GUIDE = DOCS / "guide" / "fair.md"
SEED = bytes(range(32)).hex()
STEPS = [
    {"kind": "below", "n": 6},
    {"kind": "between", "low": -5, "high": 5},
    {"kind": "fraction"},
    {"kind": "dice", "count": 2, "sides": 6},
    {"kind": "weighted", "weights": [70, 25, 5]},
    {"kind": "shuffle", "n": 5},
    {"kind": "below", "n": 2**53},
    {"kind": "shuffle", "n": 52},
]
ARGUMENTS = [
    "below:6",
    "between:-5:5",
    "fraction",
    "dice:2:6",
    "weighted:70:25:5",
    "shuffle:5",
    "below:9007199254740992",
    "shuffle:52",
]

game = Game("fair")
DECK = [rank + suit for suit in "CDHS" for rank in "23456789TJQKA"]


@game.rpc
async def deal(ctx: Context) -> dict[str, Any]:
    draw = await ctx.fair.draw(ctx.player)
    return {"nonce": draw.nonce, "commitment": draw.commitment, "hand": draw.shuffle(DECK)[:5]}


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game, database_url=database_url) as platform:
        yield platform


async def verify(platform: Platform, **request: Any) -> Any:
    """What the public endpoint answers to a caller without credentials. Raises BotError."""
    async with platform.http.post(f"{platform.url}{FAIR}/verify", json=request) as answer:
        content = await answer.json()
        if answer.status != 200:
            raise BotError(answer.status, content["code"], content["message"])
        return content


def script_values(folder: Path, server_seed: str, client_seed: str, nonce: int, steps: list[str]) -> list[Any]:
    """What the script of the guide prints, run as a reader does, alone in a folder."""
    (script,) = (source for source in sources(GUIDE) if source.name == "verify_fair.py")
    file = folder / script.name
    file.write_text(script.text, encoding="utf-8")
    command = [sys.executable, "-I", str(file), server_seed, client_seed, str(nonce), *steps]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    commitment, *lines = run.stdout.splitlines()
    assert commitment == f"commitment {hashlib.sha256(bytes.fromhex(server_seed)).hexdigest()}"
    return [json.loads(line.partition(" ")[2]) for line in lines]


async def test_a_player_checks_a_hand_of_cards_from_beginning_to_end(platform: Platform, tmp_path: Path) -> None:
    ann = await platform.bot()
    before = await ann.call("GET", FAIR)
    assert before == {
        "number": 1,
        "commitment": before["commitment"],
        "next_commitment": before["next_commitment"],
        "client_seed": before["client_seed"],
        "nonce": 0,
        "algorithm": "palestra-fair-1",
    }
    active = (await ann.call("POST", f"{FAIR}/rotate", {"client_seed": "ann's own: 1"}))["active"]
    assert active["commitment"] == before["next_commitment"]
    hands = [await ann.rpc("deal") for _ in range(3)]
    assert [(hand["nonce"], hand["commitment"]) for hand in hands] == [(n, active["commitment"]) for n in range(3)]
    assert (await ann.call("GET", FAIR))["nonce"] == 3

    revealed = (await ann.call("POST", f"{FAIR}/rotate", {}))["revealed"]
    assert revealed["commitment"] == active["commitment"]
    assert (revealed["client_seed"], revealed["draws"]) == ("ann's own: 1", 3)
    assert await ann.call("GET", f"{FAIR}/history") == {"seeds": [revealed], "cursor": ""}
    for hand in hands:
        seeds = (revealed["server_seed"], revealed["client_seed"], hand["nonce"])
        (places,) = script_values(tmp_path, *seeds, ["shuffle:52"])
        assert [DECK[place] for place in places[:5]] == hand["hand"]


async def test_the_endpoint_and_the_script_agree_on_every_kind_of_draw(platform: Platform, tmp_path: Path) -> None:
    for nonce, client_seed in ((0, "lucky seven"), (2**63 - 1, "a:b"), (12, "~" * 64)):
        answer = await verify(platform, server_seed=SEED, client_seed=client_seed, nonce=nonce, draws=STEPS)
        assert answer["values"] == script_values(tmp_path, SEED, client_seed, nonce, ARGUMENTS)


async def test_the_example_of_the_guide_is_true(platform: Platform) -> None:
    answer = await verify(platform, server_seed=SEED, client_seed="lucky seven", nonce=0, draws=STEPS[:6])
    page = GUIDE.read_text(encoding="utf-8")
    assert f"`{answer['commitment']}`" in page
    shown = re.findall(r"^\| `.*\| ([^|]+) \|$", page.partition("with numbers")[2], re.MULTILINE)
    values = [re.sub(r"[\[\]]", "", str(value)) for value in answer["values"]]
    assert [text.removeprefix("place ") for text in shown] == values


async def test_what_cannot_be_verified_is_refused_with_the_reason(platform: Platform) -> None:
    fine: dict[str, Any] = {"server_seed": SEED, "client_seed": "c", "nonce": 1, "draws": [{"kind": "fraction"}]}
    assert len((await verify(platform, **fine))["values"]) == 1
    refusals = [
        ({"server_seed": "xyz"}, "A server seed is 64 hex digits, not 'xyz'."),
        ({"server_seed": SEED[:-1]}, "64 hex digits"),
        ({"client_seed": ""}, "A client seed is 1 to 64 printable ASCII characters"),
        ({"client_seed": "ä"}, "A client seed is"),
        ({"nonce": -1}, "A nonce is 0 to 9223372036854775807, not -1."),
        ({"nonce": 2**63}, "out of range"),
        ({"nonce": 0.5}, "invalid value for integer field nonce"),
        ({"draws": [{"kind": "fraction"}] * 101}, "at most 100 draws"),
        ({"draws": [{"kind": "shuffle", "n": 10**9}]}, "at most 1000 items"),
        ({"draws": [{"kind": "dice", "count": 501, "sides": 6}] * 2}, "at most 1000 items"),
        ({"draws": [{"kind": "weighted", "weights": [0.5, 0.5]}]}, "invalid value for integer field weights"),
        ({"draws": [{"kind": "below", "n": 0}]}, "numbers, not from 0"),
        ({"draws": [{"kind": "roulette"}]}, "not 'roulette'"),
    ]
    for change, says in refusals:
        with pytest.raises(BotError) as refused:
            await verify(platform, **fine | change)
        assert (refused.value.status, refused.value.code) == (400, 3), change
        assert says in refused.value.message


async def test_seeds_are_for_their_player_and_verification_for_everybody(platform: Platform) -> None:
    ann = await platform.bot()
    for method, path in (("GET", FAIR), ("POST", f"{FAIR}/rotate"), ("GET", f"{FAIR}/history")):
        with pytest.raises(BotError) as refused:
            await ann.call(method, path, authorization="Bearer nonsense")
        assert refused.value.status == 401
    refusals = [
        ("POST", f"{FAIR}/rotate", {"client_seed": "x" * 65}, None, "A client seed is 1 to 64"),
        ("POST", f"{FAIR}/rotate", {"client_seed": ""}, None, "A client seed is 1 to 64"),
        ("GET", f"{FAIR}/history", None, {"limit": "0"}, "1 to 100 seeds"),
        ("GET", f"{FAIR}/history", None, {"cursor": "?"}, "Malformed cursor"),
    ]
    for method, path, body, query, says in refusals:
        with pytest.raises(BotError) as refused:
            await ann.call(method, path, body, query=query)
        assert (refused.value.status, refused.value.code) == (400, 3)
        assert says in refused.value.message


async def test_a_deleted_account_takes_its_seeds_along(platform: Platform) -> None:
    ann, bob = await platform.bot(), await platform.bot()
    for player in (ann, bob):
        await player.rpc("deal")
        await player.call("POST", f"{FAIR}/rotate", {})
    await ann.call("DELETE", "/v2/account")
    database = platform.node.parts.database
    for table in ("fair_seeds", "fair_past_seeds"):
        assert await database.fetchval(f"SELECT array_agg(owner) FROM {table}") == [bob.id]


@pytest.mark.browser
async def test_the_browsers_function_of_the_guide_agrees_with_the_server(platform: Platform) -> None:
    (function,) = re.findall(r"^```js\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    bounds = [6, 2, 1, 52, 2**53, 10]
    steps = [{"kind": "below", "n": n} for n in bounds]
    answer = await verify(platform, server_seed=SEED, client_seed="lucky: seven", nonce=3, draws=steps)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    executable = os.environ.get("PALESTRA_TEST_CHROMIUM", chromium)
    assert executable, "this test needs Chromium on PATH (or its path in PALESTRA_TEST_CHROMIUM)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        await page.goto(f"{platform.url}/healthcheck")
        call = f"(given) => {{ {function} return fairBelow(...given); }}"
        values = await page.evaluate(call, [SEED, "lucky: seven", 3, bounds])
        await browser.close()
    assert values == answer["values"]
