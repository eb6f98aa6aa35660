"""`palestra replay`: a recorded match is run again and compared with its record."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.console import Console

from palestra.core.errors import SetupError
from palestra.features.matches.replay import Replayed, heading_of, replay
from palestra.sdk.loader import load_games
from palestra.sdk.match import replay_handler
from palestra.sdk.traces import trace_of

out = Console(highlight=False, soft_wrap=True, markup=False)


def replay_file(file: Path, module: Path | None) -> int:
    """Run a record again, say how it went; the exit status."""
    try:
        with file.open("rb") as lines:
            heading = heading_of(lines.readline())
            handler = replay_handler(load_games([module or Path(heading.module)]), heading.name)
            if handler.version != heading.version:
                out.print(f"note: {handler.module} has changed since this match was played")
            outcome = asyncio.run(replay(heading, lines, handler))
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error}") from None
    out.print(f"match {heading.match_id}: {outcome.ticks} ticks run, {outcome.compared} states compared")
    return _tell(outcome)


def _tell(outcome: Replayed) -> int:
    if outcome.error is not None:
        out.print(trace_of(outcome.error))
    if outcome.difference:
        out.print(f"differs after tick {outcome.ticks}: {outcome.difference}")
        return 1
    if outcome.ended != "over":
        out.print(f"the record breaks off: {outcome.ended or 'the node was stopped suddenly'}")
    out.print("the same as recorded")
    return 0
