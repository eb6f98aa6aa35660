"""The tic-tac-toe example in the browser: a real node, the stock client SDK, and two windows."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.examples.windows import DESKTOP, PHONE, Node, window

pytestmark = pytest.mark.browser

SEATED = "document.getElementById('told').textContent.match(/Waiting|turn|thinks/)"


async def place(page: Page, cell: int) -> None:
    await page.locator("#board button:not(:disabled)").first.wait_for()
    await page.locator("#board button").nth(cell).click()


async def test_two_windows_play_and_both_see_who_won(browser: Browser, complaints: list[str], tmp_path: Path) -> None:
    node = Node("tictactoe", "/tictactoe/", tmp_path)
    node.start()
    try:
        async with (
            window(browser, node.url, DESKTOP, SEATED, complaints) as ada,
            window(browser, node.url, PHONE, SEATED, complaints) as bob,
        ):
            for page, cell in [(ada, 4), (bob, 0), (ada, 2), (bob, 1), (ada, 6)]:
                await place(page, cell)
            await ada.get_by_text("You won").wait_for()
            await bob.get_by_text("You lost").wait_for()
            assert await bob.locator("#board [data-won=true]").count() == 3
            await ada.screenshot(path=tmp_path / "won.png")
            await bob.click("#again")
            await bob.get_by_text("Your turn: you are O").wait_for()
            await ada.get_by_text("The other one thinks").wait_for()
            assert await ada.locator("#board button", has_text="x").count() == 0
            await bob.screenshot(path=tmp_path / "phone.png")
    finally:
        node.stop()
    assert complaints == []
