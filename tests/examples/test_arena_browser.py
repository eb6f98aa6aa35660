"""The arena example end to end: a real node, the stock client SDK, and two pages in a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.examples.windows import DESKTOP, PHONE, Node, free_port, window

pytestmark = pytest.mark.browser

# Which keys lead to the nearest spark, as the page itself knows it. Speed is taken into account: discs glide.
KEYS_TO_NEAREST = """() => {
  const { me, sparks } = window.arena;
  const far = (spark) => Math.hypot(spark.x - me.x, spark.y - me.y);
  const goal = sparks.reduce((best, spark) => (far(spark) < far(best) ? spark : best));
  const [x, y] = [goal.x - me.x - me.vx * 0.3, goal.y - me.y - me.vy * 0.3];
  return [Math.abs(x) > 10 && (x > 0 ? "ArrowRight" : "ArrowLeft"), Math.abs(y) > 10 && (y > 0 ? "KeyS" : "KeyW")]
    .filter(Boolean);
}"""

SOME_FRAMES = """() => new Promise((resolve) => {
  let left = 6;
  const next = () => (left-- ? requestAnimationFrame(next) : resolve());
  next();
})"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node("arena", "/play/", tmp_path_factory.mktemp("arena"))
    node.start()
    yield node
    node.stop()


def player(browser: Browser, url: str, screen: dict, complaints: list[str]) -> AbstractAsyncContextManager[Page]:
    """A page that is in the match."""
    return window(browser, url, screen, "window.arena?.connected", complaints)


async def begin_run(page: Page, name: str) -> None:
    await page.fill("#name", name)
    await page.click("#play")
    await page.wait_for_selector("#card", state="hidden")


async def catch_a_spark(page: Page) -> int:
    """Steer to the nearest spark until the score has risen; the score."""
    before = await page.evaluate("window.arena.score")
    for _ in range(120):
        keys = await page.evaluate(KEYS_TO_NEAREST)
        for key in keys:
            await page.keyboard.down(key)
        await page.evaluate(SOME_FRAMES)
        for key in keys:
            await page.keyboard.up(key)
        score = await page.evaluate("window.arena.score")
        if score > before:
            return score
    raise AssertionError("no spark was caught in 120 attempts")


async def test_two_windows_see_each_other_move(
    node: Node, browser: Browser, complaints: list[str], tmp_path: Path
) -> None:
    url = node.url + "?room=moving"
    async with player(browser, url, DESKTOP, complaints) as ada, player(browser, url, PHONE, complaints) as bob:
        await begin_run(ada, "Ada")
        await begin_run(bob, "Bjørn ✨")
        await bob.wait_for_function("window.arena.players.some(({ name, x }) => name === 'Ada' && x > 0)")
        await ada.wait_for_function("window.arena.players[0]?.name === 'Bjørn ✨'")
        assert await bob.locator("#player-count").inner_text() == "2"

        seen = await bob.evaluate("window.arena.players[0].x")
        to_the_middle = "ArrowRight" if seen < 900 else "ArrowLeft"
        await ada.keyboard.down(to_the_middle)
        await bob.wait_for_function("(from) => Math.abs(window.arena.players[0].x - from) > 150", arg=seen)
        await ada.keyboard.up(to_the_middle)
        await ada.screenshot(path=tmp_path / "desktop.png")
        await bob.screenshot(path=tmp_path / "phone.png")

        # When Ada's disc has come to rest, both pages agree on where it is.
        await ada.wait_for_function("Math.hypot(window.arena.me.vx, window.arena.me.vy) < 1")
        rest = await ada.evaluate("window.arena.me.x")
        await bob.wait_for_function("(x) => Math.abs(window.arena.players[0].x - x) < 5", arg=rest)
        # And both see the same sparks in the same places.
        places = "window.arena.sparks.map(({ x, y }) => [x, y])"
        assert await ada.evaluate(places) == await bob.evaluate(places)
    assert complaints == []


async def test_a_thumb_on_a_phone_steers_the_disc(node: Node, browser: Browser, complaints: list[str]) -> None:
    async with player(browser, node.url + "?room=thumb", PHONE, complaints) as page:
        await begin_run(page, "Thumb")
        start = await page.evaluate("window.arena.me.x")
        direction = 1 if start < 900 else -1
        touch = await page.context.new_cdp_session(page)
        finger = {"x": 195, "y": 650}
        await touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [finger]})
        moved = {"x": 195 + 60 * direction, "y": 650}
        await touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
        await page.wait_for_function("(from) => Math.abs(window.arena.me.x - from) > 120", arg=start)
        await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert (await page.evaluate("window.arena.me.x") - start) * direction > 0
    assert complaints == []


async def test_a_score_reaches_the_leaderboard_of_the_others(
    node: Node, browser: Browser, complaints: list[str], tmp_path: Path
) -> None:
    url = node.url + "?room=scoring"
    async with player(browser, url, DESKTOP, complaints) as ada, player(browser, url, PHONE, complaints) as bob:
        await begin_run(ada, "Scorer")
        await catch_a_spark(ada)
        await ada.click("#finish")
        await ada.locator("#result").wait_for()
        score = await ada.evaluate("window.arena.score")
        await bob.tap("#board-panel summary")
        row = bob.locator("#board li", has_text="Scorer")
        await row.wait_for()
        assert await row.locator(".points").inner_text() == str(score)
        await bob.screenshot(path=tmp_path / "board.png")
        # A spark that Ada has caught is gone for Bob, too.
        places = "window.arena.sparks.map(({ x, y }) => [x, y])"
        assert await ada.evaluate(places) == await bob.evaluate(places)
    assert complaints == []


async def test_name_colour_and_best_score_survive_a_reload(node: Node, browser: Browser, complaints: list[str]) -> None:
    async with player(browser, node.url + "?room=saving", DESKTOP, complaints) as page:
        await page.locator("#colours label").nth(5).click()
        await begin_run(page, "Keeper")
        await catch_a_spark(page)
        await page.click("#finish")
        await page.locator("#result").wait_for()
        kept = await page.evaluate("[window.arena.me.name, window.arena.me.hue, window.arena.me.best]")
        await page.locator("#board li", has_text="Keeper (you)").wait_for()
        await page.reload()
        await page.wait_for_function("window.arena?.connected")
        assert await page.evaluate("[window.arena.me.name, window.arena.me.hue, window.arena.me.best]") == kept
        assert await page.input_value("#name") == "Keeper"
        assert await page.locator("#best").inner_text() == str(kept[2])
        # The browser itself keeps nothing but its device id: the rest came from the node.
        assert await page.evaluate("Object.keys(localStorage)") == ["arena.device"]
    assert complaints == []


async def test_pages_say_that_the_node_is_away_and_come_back_to_the_same_match(
    browser: Browser, tmp_path: Path
) -> None:
    node = Node("arena", "/play/", tmp_path, free_port())
    node.start()
    try:
        async with player(browser, node.url, DESKTOP, []) as ada, player(browser, node.url, PHONE, []) as bob:
            await ada.wait_for_function("window.arena.players.length === 1")
            node.stop()
            for page in (ada, bob):
                await page.locator("#badge[data-state=offline]").wait_for()
                await page.locator("#banner", has_text="does not answer").wait_for()
                assert not await page.evaluate("window.arena.connected")
            node.start()
            for page in (ada, bob):
                await page.wait_for_function("window.arena.connected && window.arena.players.length === 1")
                assert await page.locator("#badge").inner_text() == "Online"
                assert not await page.locator("#banner").is_visible()
    finally:
        node.stop()
