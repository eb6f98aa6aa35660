"""The embedded server: starts, stops and crashes, and machines that do not let it run."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from palestra.core.errors import SetupError
from palestra.database import embedded
from palestra.database.account import Account, blocked_directory, unreachable
from palestra.database.embedded import EmbeddedPostgres

NODE = """
import asyncio, sys
from pathlib import Path
from palestra.database.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

Make = Callable[[Path], EmbeddedPostgres]
Put = Callable[[Path], Path]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes servers that are stopped after the test."""
    servers: list[EmbeddedPostgres] = []

    def make(data_dir: Path) -> EmbeddedPostgres:
        servers.append(EmbeddedPostgres(data_dir))
        return servers[-1]

    yield make
    for server in servers:
        await server.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A node process with a server in `tmp_path / "data"`; its first line of output is the server's process id."""
    process = subprocess.Popen([sys.executable, "-c", NODE, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    return ps(pid, "stat")[:1] not in ("", "Z")


def ps(pid: int | None, column: str) -> str:
    """What the system says about a process; nothing when there is none."""
    command = ["ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def sleeper(uid: int) -> subprocess.Popen[bytes]:
    """A process of an account that does nothing."""
    return subprocess.Popen(["sleep", "600"], user=uid if os.geteuid() == 0 else None)


def half_made(data_dir: Path) -> list[Path]:
    """Databases that initdb is at work on, or has left."""
    return list(data_dir.glob("pg-new-*/PG_VERSION"))


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


async def run(url: str, *statements: str) -> object:
    """Run statements; the first value of the last."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


async def test_a_restart_keeps_what_was_written(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path / "deep" / "data")
    url = await server.start()
    pid = server.pid
    assert await server.start() == url and server.pid == pid
    await run(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    await server.stop()
    await server.stop()
    assert pid is not None and not alive(pid)
    assert await run(await server.start(), "SELECT n FROM kept") == 7


async def test_the_server_is_durable_unicode_and_closed_to_the_network_and_to_other_accounts(
    make: Make, tmp_path: Path
) -> None:
    server = make(tmp_path)
    url = await server.start()
    assert await run(url, "SHOW listen_addresses") == ""
    assert await run(url, "SHOW fsync") == "on"
    assert await run(url, "SHOW server_encoding") == "UTF8"
    assert await run(url, "SELECT lower('ÄÉ')") == "äé"
    assert await run(url, "SELECT current_setting('server_version_num')::int / 10000") == 18
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert server.pid is not None and os.getsid(server.pid) != os.getsid(0), "Ctrl-C would reach it"


async def test_the_server_has_no_more_rights_than_it_needs(make: Make, with_database: Put) -> None:
    # Not under tmp_path, whose parents may be closed to other accounts.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        server = make(with_database(Path(folder) / "data"))
        await server.start()
        assert int(ps(server.pid, "euid")) != 0
        await server.stop()


async def test_a_data_directory_below_a_closed_one_works(make: Make, with_database: Put, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert await run(await make(with_database(closed / "data")).start(), "SELECT 1") == 1


async def test_programs_below_a_closed_directory_work(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a checkout that only its owner may enter, with the virtual environment inside.
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = embedded.binaries().parent.parent
    for folder in package.parent.glob(f"{package.name}*"):
        shutil.copytree(folder, closed / folder.name)
    programs = closed / embedded.binaries().relative_to(package.parent)
    monkeypatch.setattr(embedded, "binaries", lambda: programs)
    assert await run(await make(closed / "data").start(), "SELECT 1") == 1


def test_the_directory_that_bars_the_way_is_named_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    stranger = Account("stranger", 54_321, 54_321)
    blocked = blocked_directory(tmp_path / "inside" / "pg", stranger)
    # A parent of pytest's own may be closed as well; the first one on the way is the answer.
    assert blocked is not None and (tmp_path / "x").is_relative_to(blocked)
    assert f"chmod o+x {blocked}" in unreachable(blocked, stranger)
    assert "may not become account 'stranger'" in unreachable(None, stranger)
    owner = tmp_path.stat()
    assert blocked_directory(tmp_path / "pg", Account("owner", owner.st_uid, owner.st_gid)) is None


async def test_stopping_ends_open_sessions(make: Make, with_database: Put, tmp_path: Path) -> None:
    server = make(with_database(tmp_path))
    connection = await asyncpg.connect(await server.start())
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await server.stop()
    await asyncio.wait_for(ended.wait(), 10)


async def test_a_killed_server_starts_again_with_all_that_was_committed(
    make: Make, with_database: Put, tmp_path: Path
) -> None:
    server = make(with_database(tmp_path))
    url = await server.start()
    await run(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: server.pid is None)
    assert await run(await server.start(), "SELECT n FROM kept") == 7


async def test_a_port_in_the_environment_leads_nobody_astray(
    make: Make, with_database: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "25432")
    assert await run(await make(with_database(tmp_path)).start(), "SELECT 1") == 1


async def test_a_watched_server_that_dies_is_started_again(make: Make, with_database: Put, tmp_path: Path) -> None:
    server = make(with_database(tmp_path))
    url = await server.start()
    watch = asyncio.create_task(server.keep_running())
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: server.pid not in (None, pid))
    async with asyncio.timeout(30):
        while True:
            try:
                assert await run(url, "SELECT 1") == 1
                break
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.01)
    watch.cancel()


async def test_a_killed_node_takes_its_server_along_and_the_next_one_starts(
    node: subprocess.Popen[str], make: Make, tmp_path: Path
) -> None:
    assert node.stdout is not None
    pid = int(await asyncio.to_thread(node.stdout.readline))
    node.kill()
    node.wait()
    if sys.platform.startswith("linux"):
        await until(lambda: not alive(pid))
    server = make(tmp_path / "data")
    await server.start()
    assert not alive(pid) and server.pid is not None


async def test_a_server_left_behind_is_stopped_before_another_starts(
    make: Make, with_database: Put, tmp_path: Path
) -> None:
    server = make(with_database(tmp_path))
    url = await server.start()
    await run(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    left_behind = server.pid
    assert left_behind is not None and server._lock is not None
    # As if the node were gone and its server had not noticed.
    os.close(server._lock)
    server._lock = None
    heir = make(tmp_path)
    assert await run(await heir.start(), "SELECT n FROM kept") == 7
    assert heir.pid != left_behind and not alive(left_behind)


async def test_a_note_that_names_another_program_does_not_keep_the_server_from_starting(
    make: Make, with_database: Put, tmp_path: Path
) -> None:
    server = make(with_database(tmp_path))
    await server.start()
    assert server.pid is not None
    note = tmp_path / "pg" / "postmaster.pid"
    lines = note.read_text().splitlines()
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: server.pid is None)
    await server.stop()
    owner = (tmp_path / "pg").stat().st_uid
    other = await asyncio.to_thread(sleeper, owner)
    try:
        note.write_text("\n".join([str(other.pid), *lines[1:], ""]))
        assert await run(await make(tmp_path).start(), "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_a_second_node_on_the_same_directory_is_told_who_holds_it(
    make: Make, with_database: Put, tmp_path: Path
) -> None:
    url = await make(with_database(tmp_path)).start()
    with pytest.raises(SetupError, match=f"in use by another node, process {os.getpid()}") as refusal:
        await make(tmp_path).start()
    assert "choose another --data-dir" in str(refusal.value)
    assert await run(url, "SELECT 1") == 1


async def test_a_node_killed_while_it_makes_the_database_leaves_nothing_in_the_way(
    node: subprocess.Popen[str], make: Make, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    await until(lambda: half_made(data))
    node.kill()
    node.wait()
    assert not (data / "pg").exists()
    assert await run(await make(data).start(), "SELECT 1") == 1
    assert not list(data.glob("pg-new-*"))


async def test_a_cancelled_start_leaves_no_process_and_no_lock(make: Make, tmp_path: Path) -> None:
    start = asyncio.create_task(make(tmp_path).start())
    await until(lambda: half_made(tmp_path))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert sorted(os.listdir(tmp_path)) == ["node.lock", "postgres.log"]
    assert await run(await make(tmp_path).start(), "SELECT 1") == 1


async def test_a_database_of_another_version_is_refused(make: Make, with_database: Put, tmp_path: Path) -> None:
    server = make(with_database(tmp_path))
    await server.start()
    await server.stop()
    (tmp_path / "pg" / "PG_VERSION").write_text("16\n")
    with pytest.raises(SetupError, match="made by PostgreSQL 16, and this is PostgreSQL 18"):
        await server.start()


async def test_a_directory_with_other_files_is_left_alone(make: Make, tmp_path: Path) -> None:
    precious = tmp_path / "pg" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(SetupError, match="holds files but no database"):
        await make(tmp_path).start()
    assert precious.read_text() == "mine"


async def test_an_unwritable_place_is_named_with_a_way_out(make: Make) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65_534)
        try:
            with pytest.raises(SetupError, match="cannot be used by this account") as refusal:
                await make(Path(folder) / "data").start()
        finally:
            os.seteuid(was)
    assert folder in str(refusal.value) and "--data-dir" in str(refusal.value)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with too little room for a database: a small disk, or where none can be mounted, small files only."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0755", "none", str(place)]
    if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        yield place
        subprocess.run(["umount", str(place)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, before[1]))
    yield place
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_called_that_and_nothing_half_made_stays(make: Make, small_disk: Path) -> None:
    with pytest.raises(SetupError, match="is full: free some space"):
        await make(small_disk / "data").start()
    assert not list((small_disk / "data").glob("pg*"))


async def test_a_server_that_refuses_its_settings_is_quoted(with_database: Put, tmp_path: Path) -> None:
    server = EmbeddedPostgres(with_database(tmp_path), extra_settings={"shared_buffers": "plenty"})
    with pytest.raises(SetupError, match='invalid value for parameter "shared_buffers"') as refusal:
        await server.start()
    assert f"its log is {tmp_path}/postgres.log" in str(refusal.value) and server.pid is None


async def test_a_path_too_long_for_a_socket_gets_one_elsewhere_that_goes_away(
    make: Make, with_database: Put, tmp_path: Path
) -> None:
    server = make(with_database(tmp_path / ("long" * 25) / "data"))
    url = await server.start()
    assert await run(url, "SELECT 1") == 1
    sockets = parse_qs(urlsplit(url).query)["host"][0]
    assert os.path.dirname(sockets) == tempfile.gettempdir()
    assert os.stat(sockets).st_mode & 0o777 == 0o700
    await server.stop()
    assert not os.access(sockets, os.F_OK)


async def test_a_socket_directory_that_is_not_ours_is_not_used(make: Make, with_database: Put, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "trap")
    with pytest.raises(SetupError, match="is another's"):
        await make(with_database(tmp_path)).start()
