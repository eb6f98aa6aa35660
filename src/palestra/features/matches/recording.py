"""Writing records of matches to files: bounded, and never on the loop."""

from __future__ import annotations

import asyncio
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from palestra.core.config import MatchSettings
from palestra.core.log import get_logger
from palestra.features.matches.contract import MatchCode, MatchHandler
from palestra.features.matches.desk import Desk
from palestra.features.matches.record import (
    FORMAT,
    SUFFIX,
    End,
    Entry,
    Failed,
    Heading,
    State,
    entry_of,
    error_text,
    hash_of,
    write,
)

log = get_logger(__name__)

PIECE_BYTES = 65_536
PIECE_SECONDS = 5
UNWRITTEN_BYTES_MAX = 33_554_432
"""What may wait for the disk, of all records together; a record for which there is no room ends."""


class Recordings:
    """The records that this node writes, in one folder, by one thread."""

    def __init__(self, settings: MatchSettings, data_dir: str) -> None:
        self.settings = settings
        self.unwritten_bytes = 0
        self._folder = Path(settings.record_dir or Path(data_dir) / "matches")
        self._thread = ThreadPoolExecutor(1, "match records")

    def begin(self, desk: Desk, handler: MatchHandler, seed: int, ticks: int = 0) -> Recording | None:
        """The record of a match, None where it is not to be recorded; of one that had `ticks` on another node."""
        if not (handler.record or self.settings.record_dir):
            return None
        name = re.sub(r"[^A-Za-z0-9_-]", "_", desk.name)
        heading = Heading(
            FORMAT,
            desk.id,
            desk.name,
            desk.node,
            handler.module,
            handler.version,
            desk.ticks_per_second,
            self.settings.deferred_queue_max,
            desk.started_at,
            seed,
        )
        file = f"{name}-{desk.id.partition('.')[0]}{f'-{ticks}' if ticks else ''}{SUFFIX}"
        return Recording(self, self._folder / file, desk, heading)

    def append(self, recording: Recording, piece: bytes, *, first: bool) -> None:
        """Have a piece written, in its turn."""
        loop = asyncio.get_running_loop()
        self.unwritten_bytes += len(piece)

        def written(error: OSError | None) -> None:
            self.unwritten_bytes -= len(piece)
            if error is not None:
                recording.broken(error)

        def work() -> None:
            error = self._append(recording.file, piece, first)
            # The loop may have ended meanwhile: then nobody wants to know.
            if not loop.is_closed():
                loop.call_soon_threadsafe(written, error)

        self._thread.submit(work)

    def _append(self, file: Path, piece: bytes, first: bool) -> OSError | None:
        try:
            if first:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._make_room()
            # One that was removed meanwhile is not begun again in its middle.
            with file.open("xb" if first else "r+b") as opened:
                opened.seek(0, os.SEEK_END)
                opened.write(piece)
        except OSError as error:
            return error
        return None

    def _make_room(self) -> None:
        files = sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
        for file in files[: max(0, len(files) - self.settings.record_files_max + 1)]:
            file.unlink(missing_ok=True)

    async def stop(self) -> None:
        """Write what waits."""
        await asyncio.to_thread(self._thread.shutdown)


class Recording:
    """Implements `Recorder`: the record of one match."""

    def __init__(self, recordings: Recordings, file: Path, desk: Desk, heading: Heading) -> None:
        self.file = file
        self.code: MatchCode | None = None
        self._recordings = recordings
        self._desk = desk
        self._piece = bytearray(write(heading) + b"\n")
        self._recorded_bytes = 0
        self._ticks_unwritten = 0
        self._hashes = True
        self._begun = self._over = self._broken = False

    def note(self, name: str, arguments: tuple[Any, ...]) -> None:
        """A callback is about to run."""
        self._add(entry_of(name, arguments))

    def noted(self, name: str) -> None:
        """It has run."""
        if name != "tick":
            return
        self._ticks_unwritten += 1
        if self._desk.tick_number % self._recordings.settings.record_hash_ticks == 0:
            self._add_state()
        if self._ticks_unwritten >= PIECE_SECONDS * self._desk.ticks_per_second:
            self._hand_over()

    def failed(self, error: BaseException) -> None:
        """It has raised something, which ends the match."""
        self._add(Failed(error_text(error)))

    def close(self, *, whole: bool, reason: str = "over") -> None:
        """The match is over. `whole` tells whether its state is: nothing was cut off."""
        if whole:
            self._add_state()
        self._end(reason)

    def broken(self, error: OSError) -> None:
        """A piece could not be written."""
        if not self._broken:
            self._broken = True
            log.error("a match is no longer recorded", file=str(self.file), reason=str(error))
        self._over = True

    def _add_state(self) -> None:
        if self.code is None or not self._hashes:
            return
        try:
            written = self.code.written_state()
        except Exception as error:
            self._hashes = False
            log.warning(
                "the state of a recorded match cannot be written, so its replay has nothing to compare",
                match=self._desk.name,
                match_id=self._desk.id,
                reason=str(error),
            )
        else:
            self._add(State(self._desk.tick_number, hash_of(written, self._desk.label)))

    def _add(self, entry: Entry) -> None:
        if self._over:
            return
        try:
            line = write(entry) + b"\n"
        except ValueError as error:
            # Game code can signal text that is no UTF-8.
            self._end(f"what came next cannot be written: {error}")
            return
        self._piece += line
        self._recorded_bytes += len(line)
        if self._recorded_bytes > self._recordings.settings.record_bytes_max:
            self._end("match.record_bytes_max is reached")
        elif len(self._piece) >= PIECE_BYTES:
            self._hand_over()

    def _end(self, reason: str) -> None:
        if not self._over:
            self._piece += write(End(reason)) + b"\n"
            self._hand_over()
            self._over = True

    def _hand_over(self) -> None:
        if self._over:
            return
        piece, self._piece = bytes(self._piece), bytearray()
        first, self._begun = not self._begun, True
        self._ticks_unwritten = 0
        if self._recordings.unwritten_bytes + len(piece) > UNWRITTEN_BYTES_MAX:
            self.broken(OSError("the disk does not keep up"))
        else:
            self._recordings.append(self, piece, first=first)
