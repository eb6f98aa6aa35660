"""The dice example end to end: a real node, the stock client SDK, and pages in a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.examples.windows import DESKTOP, PHONE, Node, free_port, opened, window

pytestmark = pytest.mark.browser

READY = "window.dice?.connected"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node("dice", "/dice/", tmp_path_factory.mktemp("dice"))
    node.start()
    yield node
    node.stop()


def player(browser: Browser, url: str, screen: dict, complaints: list[str]) -> AbstractAsyncContextManager[Page]:
    """A page that is logged in."""
    return window(browser, url, screen, READY, complaints)


async def roll(page: Page) -> dict:
    """Press the button and wait for the end; the roll."""
    before = await page.evaluate("window.dice.rolls.length")
    await page.click("#roll")
    await page.wait_for_function("(before) => !dice.rolling && dice.rolls.length > before", arg=before)
    return await page.evaluate("window.dice.rolls.at(-1)")


async def wallet(page: Page) -> int:
    return int((await page.locator("#coins").inner_text()).replace(",", ""))


async def test_a_roll_moves_the_wallet_in_both_windows_of_the_player(
    node: Node, browser: Browser, complaints: list[str]
) -> None:
    async with player(browser, node.url, DESKTOP, complaints) as one:
        other = await opened(one.context, node.url, READY, complaints)
        assert await wallet(one) == await wallet(other) == 10_000
        await one.locator(".stakes label", has_text="500").click()
        await one.fill("#under", "95")
        assert await one.locator("#fact-pays").inner_text() == "520"
        rolled = await roll(one)
        assert (rolled["stake"], rolled["under"]) == (500, 95)
        coins = 9_500 + rolled["payout"]
        await other.wait_for_function("document.querySelectorAll('#rolls li').length === 1")
        assert await wallet(one) == await wallet(other) == coins
        assert await one.locator("#number").inner_text() == str(rolled["roll"])
        again = await roll(other)
        await one.wait_for_function("document.querySelectorAll('#rolls li').length === 2")
        assert await wallet(one) == await wallet(other) == coins - 100 + again["payout"]

        # Another visit finds the same wallet and the same rolls, and brings no second present.
        await one.reload()
        await one.wait_for_function(READY)
        assert await wallet(one) == await wallet(other)
        assert await one.locator("#rolls li").count() == 2
        assert await one.evaluate("Object.keys(localStorage)") == ["dice.device"]
    assert complaints == []


async def test_a_roll_can_be_verified_once_the_secret_is_revealed_and_not_with_another_one(
    node: Node, browser: Browser, complaints: list[str], tmp_path: Path
) -> None:
    async with player(browser, node.url, DESKTOP, complaints) as page:
        other = await opened(page.context, node.url, READY, complaints)
        promised = await page.locator("#commitment").inner_text()
        following = await page.locator("#next-commitment").inner_text()
        await roll(page)
        await roll(page)
        await page.screenshot(path=tmp_path / "desktop.png", full_page=True)
        await page.locator(".verify").first.click()
        verdict = page.locator("#verdict")
        assert await verdict.get_attribute("data-state") == "waiting"
        assert "this roll and 1 other made with it can be checked" in await verdict.inner_text()
        assert not await page.locator("#server-seed").is_visible()

        await page.click("#reveal-here")
        await page.locator("#verdict[data-state=good]").wait_for()
        assert await page.locator("#steps li[data-state=good]").count() == 4
        assert "showed before you rolled" in await page.locator("#steps").inner_text()
        assert await page.locator(".verify").first.get_attribute("data-state") == "good"
        await page.wait_for_function(
            "(next) => document.getElementById('commitment').textContent === next", arg=following
        )
        assert promised != following
        await page.screenshot(path=tmp_path / "verified.png")

        secret = await page.input_value("#server-seed")
        await page.fill("#server-seed", secret[:-1] + ("0" if secret[-1] != "0" else "1"))
        await page.locator("#verdict[data-state=bad]").wait_for()
        await page.fill("#server-seed", secret[:-1])
        await page.locator("#steps li", has_text="64 hexadecimal digits").wait_for()
        await page.fill("#server-seed", secret)
        await page.locator("#verdict[data-state=good]").wait_for()
        await page.locator("dialog").get_by_text("Close").click()

        # The other window was told the secret, and comes to the same by itself.
        await other.locator(".verify[data-state=ready]").last.click()
        await other.locator("#verdict[data-state=good]").wait_for()
    assert complaints == []


async def test_a_player_chooses_the_seed_that_goes_with_the_next_secret(
    node: Node, browser: Browser, complaints: list[str]
) -> None:
    async with player(browser, node.url, DESKTOP, complaints) as page:
        await page.fill("#next-client-seed", "lucky seven")
        await page.click("#reveal")
        await page.locator("#client-seed", has_text="lucky seven").wait_for()
        assert (await roll(page))["fair"]["client_seed"] == "lucky seven"
        await page.locator(".verify").click()
        await page.click("#reveal-here")
        await page.locator("#verdict[data-state=good]").wait_for()
    assert complaints == []


async def test_on_a_phone_everything_fits(node: Node, browser: Browser, complaints: list[str], tmp_path: Path) -> None:
    async with player(browser, node.url, PHONE, complaints) as page:
        button = await page.locator("#roll").bounding_box()
        assert button and button["y"] + button["height"] < PHONE["viewport"]["height"], "the button is in sight"
        await page.tap("#roll")
        await page.wait_for_function("!dice.rolling && dice.rolls.length === 1")
        assert await page.evaluate(OVERFLOW) == 0
        await page.screenshot(path=tmp_path / "phone.png", full_page=True)
        await page.tap(".verify")
        await page.tap("#reveal-here")
        await page.locator("#verdict[data-state=good]").wait_for()
        assert await page.evaluate(OVERFLOW) == 0
        assert await page.evaluate(
            "document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth"
        )
        await page.screenshot(path=tmp_path / "phone-verified.png")
    assert complaints == []


async def test_a_bet_whose_answer_was_lost_is_asked_for_again_and_played_once(
    node: Node, browser: Browser, complaints: list[str]
) -> None:
    async with player(browser, node.url, DESKTOP, complaints) as page:
        lost = []

        async def lose(route) -> None:
            if lost:
                await route.continue_()
            else:
                lost.append(await route.fetch())
                await route.abort()

        await page.route("**/v2/rpc/roll*", lose)
        rolled = await roll(page)
        assert lost[0].ok
        assert await wallet(page) == 9_900 + rolled["payout"]
        assert await page.locator("#rolls li").count() == 1


async def test_the_page_says_that_the_node_is_away_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    node = Node("dice", "/dice/", tmp_path, free_port())
    node.start()
    try:
        async with player(browser, node.url, DESKTOP, []) as page:
            await roll(page)
            coins = await wallet(page)
            node.stop()
            await page.locator("#banner", has_text="does not answer").wait_for()
            assert await page.locator("#roll").is_disabled()
            node.start()
            await page.wait_for_function(READY)
            assert not await page.locator("#banner").is_visible()
            assert await wallet(page) == coins
            await roll(page)
    finally:
        node.stop()
