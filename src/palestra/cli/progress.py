"""Telling what takes long: one line that changes on a terminal, one line per step elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import Self

LONG_SECONDS = 1.0


class Progress:
    """Shows the present step once it has lasted a second, and how long it has been going on."""

    def __init__(self) -> None:
        self._step = ""
        self._since = time.monotonic()
        self._shown = False
        self._ended = threading.Event()
        self._terminal = sys.stderr.isatty()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._clear()

    def say(self, step: str) -> None:
        """The work has come to this step."""
        self._step, self._since, self._shown = step, time.monotonic(), False

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            seconds = time.monotonic() - self._since
            if not self._step or seconds < LONG_SECONDS:
                continue
            if self._terminal:
                print(f"\r\x1b[K{self._step} … {seconds:.0f} s", end="", file=sys.stderr, flush=True)
            elif not self._shown:
                print(f"{self._step} …", file=sys.stderr, flush=True)
            self._shown = True

    def _clear(self) -> None:
        if self._terminal and self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
