"""What tests of example games share: a node with the game, and windows of players in a headless Chromium."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page

EXAMPLES = Path(__file__).parents[2] / "examples"
READY_SECONDS_MAX = 30
WAIT_MS = 15_000
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


class Node:
    """`palestra run` with an example, as a process of its own on free ports; its page is at `path`."""

    def __init__(self, example: str, path: str, folder: Path, port: int = 0) -> None:
        self._game = EXAMPLES / example / "game.py"
        self._path = path
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}"

    @property
    def log(self) -> str:
        return (self._folder / "node.log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when the node says that it is ready; a second start takes the same port and data again."""
        ready = self._folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "palestra",
            "run",
            str(self._game),
            "--port",
            str(self._port),
            "--console-port",
            "0",
        ]
        command += ["--data-dir", str(self._folder / "data"), "--ready-file", str(ready)]
        with (self._folder / "node.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        for _ in range(READY_SECONDS_MAX * 20):
            if ready.exists():
                self._port = json.loads(ready.read_text())["port"]
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.05)
                break
        self.stop()
        raise AssertionError(f"the node did not get ready:\n{self.log}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the node did not stop when asked to:\n{self.log}") from None
        finally:
            self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def window(browser: Browser, url: str, screen: dict, ready: str, complaints: list[str]) -> AsyncIterator[Page]:
    """A page for which the expression `ready` has become true; each one is another person: contexts share nothing."""
    context = await browser.new_context(**screen)
    context.set_default_timeout(WAIT_MS)
    yield await opened(context, url, ready, complaints)
    await context.close()


async def opened(context: BrowserContext, url: str, ready: str, complaints: list[str]) -> Page:
    """One more page of the same person."""
    page = await context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(url)
    await page.wait_for_function(ready)
    return page
