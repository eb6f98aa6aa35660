"""The stock JavaScript SDK over the socket, in JSON and in Protobuf: in Node.js and on pages without an origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import ConsoleMessage, Frame, Page

from palestra.gateway.operation import Message
from palestra.testing import Platform
from tests.chromium import chromium
from tests.sdk_js.node_js import HERE, PROTOBUF_ADAPTER, SDK, node_js

FORMATS = ("json", "protobuf")
RUNS = 3

WALK_ON_PAGE = """async ([sdk, adapter, walk, options]) => {
  if (self.origin !== "null") throw new Error(`the page has an origin: ${self.origin}`);
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const files = { ...(await load(sdk)), ...(await load(adapter)) };
  return (await load(walk)).walk({ sdk: files, ...options });
}"""


def options(platform: Platform, form: str, run: str) -> dict[str, Any]:
    assert platform.node.parts is not None
    served = [entry.key for entry in platform.node.parts.table if isinstance(entry, Message)]
    port = str(platform.node.port)
    return {"host": "127.0.0.1", "port": port, "format": form, "run": run, "served": [*served, "ping"]}


def check(told: dict[str, Any]) -> None:
    """Every method was called, but for those whose message this version does not serve."""
    assert sorted({*told["called"], *told["left"]}) == told["methods"]


async def test_every_method_of_the_stock_socket_works_in_both_formats(platform: Platform) -> None:
    for form in FORMATS:
        chosen = json.dumps(options(platform, form, f"{form}1"))
        flag = "--experimental-websocket"  # only the first versions that have it want to be told
        check(await node_js(flag, str(HERE / "run_socket_walk.mjs"), str(SDK), str(PROTOBUF_ADAPTER), chosen))


@pytest.mark.browser
@pytest.mark.parametrize("place", ["file: page", "sandboxed frame"])
async def test_it_works_on_a_page_of_no_origin_again_and_again(platform: Platform, place: str, tmp_path: Path) -> None:
    files = [file.read_text() for file in (SDK, PROTOBUF_ADAPTER, HERE / "socket_walk.mjs")]
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Whoever visits a page asks for its icon.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    async with chromium() as browser:
        page = await browser.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        spot = await opened(page, place, platform, tmp_path)
        for run in range(RUNS):
            for form in FORMATS:
                check(await spot.evaluate(WALK_ON_PAGE, [*files, options(platform, form, f"{form}{run}")]))
    assert complaints == []


async def opened(page: Page, place: str, platform: Platform, folder: Path) -> Page | Frame:
    """The page, or the frame in it, whose origin is null.

    Browsers let neither `data:` pages nor frames of pages without an address talk to this machine, whatever it answers.
    """
    if place == "file: page":
        (folder / "walk.html").write_text("<title>walk</title>")
        await page.goto((folder / "walk.html").as_uri())
        return page
    await page.goto(f"http://127.0.0.1:{platform.node.port}/healthcheck")
    await page.set_content('<iframe sandbox="allow-scripts" srcdoc="<title>walk</title>"></iframe>')
    frame = page.frames[1]
    await frame.wait_for_load_state()
    return frame
