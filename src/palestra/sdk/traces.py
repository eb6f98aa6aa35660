"""Tracebacks as the writer of a game wants to read them: without the platform's own frames on top."""

from __future__ import annotations

import traceback
from pathlib import Path

_OWN = str(Path(__file__).resolve().parents[1])


def trace_of(error: BaseException) -> str:
    """The traceback of an error of game code, from the game's own first line on."""
    frames = error.__traceback__
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if not file.startswith((_OWN, "<frozen importlib")):
            break
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
