"""`palestra work` as a process: killed at any moment it loses no job, told to stop it ends in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from palestra.cli.main import app
from palestra.core.errors import SetupError
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing
from palestra.jobs.contract import Job
from tests.cli.nodes import ENVIRONMENT, palestra
from tests.jobs.world import SECONDS_MAX, Note, Recorder, World, until

GAME = """
import asyncio
from pathlib import Path
import msgspec
from palestra import Game

game = Game("harvest")
folder = Path(__file__).parent


class Note(msgspec.Struct):
    n: int


def tell(text):
    with (folder / "told").open("a") as file:
        file.write(text + "\\n")


@game.job
async def note(ctx, payload: Note):
    tell(f"begun {payload.n}")
    while not (folder / "go").exists():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.002)
    tell(f"done {payload.n}")
"""


class Told:
    """What the jobs of all processes have written."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "told"

    def count(self, what: str) -> Counter[int]:
        """How often each job has begun, or is done."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return Counter(int(line.split()[1]) for line in lines if line.startswith(what))


@contextmanager
def working(folder: Path, database_url: str) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own, gone afterwards."""
    (folder / "harvest.py").write_text(GAME)
    KeyRing.load_or_create(folder / "keyring.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "palestra", "work", "harvest.py", "--database-url", database_url, "--data-dir", "."],
        cwd=folder,
        env={**ENVIRONMENT, "PALESTRA_JOBS_HEARTBEAT_TIMEOUT_SECONDS": "1", "PALESTRA_JOBS_POLL_SECONDS": "0.2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS_MAX)


async def queue_of(database: Database, jobs: int) -> World:
    """A queue that holds so many of the game's jobs; nothing in this process works on them."""
    world = World(database, [Job("game.note", Recorder(), Note)])
    for n in range(jobs):
        await world.queue.enqueue(None, "game.note", Note(n))
    return world


async def test_a_worker_that_is_killed_again_and_again_loses_no_job(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    jobs = 120
    world, told = await queue_of(database, jobs), Told(tmp_path)
    with working(tmp_path, database_url) as worker:
        await until(lambda: len(told.count("begun")) > 2)
        worker.kill()
    assert not told.count("done")
    in_hand = [n for n, _ in told.count("begun").items()]
    (tmp_path / "go").touch()
    for done in (10, 40, 80):
        with working(tmp_path, database_url) as worker:
            await until(lambda done=done: len(told.count("done")) >= done)
            worker.kill()
    with working(tmp_path, database_url):
        await world.until_rows([])
    assert sorted(told.count("done")) == list(range(jobs))
    begun = told.count("begun")
    assert all(begun[n] > 1 for n in in_hand), "they were begun in vain and begun again"


async def test_a_worker_that_is_told_to_stop_finishes_what_it_has_in_hand(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    world, told = await queue_of(database, 1), Told(tmp_path)
    with working(tmp_path, database_url) as worker:
        await until(lambda: bool(told.count("begun")))
        worker.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        output, errors = await asyncio.to_thread(worker.communicate, timeout=SECONDS_MAX)
    assert worker.returncode == 0, errors
    assert "works for harvest" in output and "Traceback" not in errors
    assert told.count("done") == {0: 1}
    assert await world.rows() == []


async def test_a_job_that_outlasts_the_stop_is_left_in_the_queue(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "palestra.toml").write_text("drain_seconds = 0.2\n")
    world, told = await queue_of(database, 1), Told(tmp_path)
    with working(tmp_path, database_url) as worker:
        await until(lambda: bool(told.count("begun")))
        worker.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(worker.communicate, timeout=SECONDS_MAX)
    assert (worker.returncode, await world.rows()) == (0, [("queued", 1)]), errors
    assert "Traceback" not in errors


def test_a_worker_without_a_database_or_a_key_ring_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = palestra("work", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--database-url" in done.stderr and "embedded" in done.stderr and "Traceback" not in done.stderr
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match="no key ring"):
        app(["work", "--database-url", "postgresql://nobody@127.0.0.1/nothing"])
    assert os.listdir(tmp_path) == []
