"""`palestra run`: it says when it is ready and where, and it leaves nothing behind however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from palestra.cli import serve
from palestra.cli.main import app
from palestra.core.errors import SetupError
from palestra.testing import Platform
from tests.cli.nodes import SECONDS_MAX, alive, palestra, running


def get(port: int, path: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.status, answer.read()


def test_it_serves_tells_where_and_how_soon_and_a_signal_ends_all_of_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in (signal.SIGINT, signal.SIGTERM):
        (tmp_path / "ready.json").write_text("left behind by an earlier run")
        with running(tmp_path, "--data-dir", str(data)) as node:
            ready = node.wait_ready()
            assert ready["pid"] == node.process.pid
            assert get(ready["port"], "/healthcheck") == (200, b"{}")
            assert get(ready["console_port"], "/ready")[0] == 200
            assert b"palestra_database_available 1.0" in get(ready["console_port"], "/metrics")[1]
            started = node.descendants()
            assert started, "PostgreSQL runs beside it"

            with running(tmp_path, "--data-dir", str(data)) as second:
                output, errors = second.process.communicate(timeout=30)
                assert second.process.returncode == 1
                assert "Traceback" not in errors and str(data) in errors, errors
            status, seconds, output, errors = node.stop(number)
        assert status == 0, errors
        assert seconds < 5
        assert alive(started) == []
        assert re.search(
            rf"^ready http://127.0.0.1:{ready['port']} after \d+\.\d s · Ctrl-C stops everything$", output, re.M
        )
        assert f"keys     {data}/keyring.json · back it up" in output
        assert "Traceback" not in errors
    assert stat.S_IMODE((data / "keyring.json").stat().st_mode) == 0o600


def test_a_signal_while_it_starts_for_the_first_time_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path, "--data-dir", str(tmp_path / "data")) as node:
        while not (children := node.descendants()):
            assert node.process.poll() is None, node.process.communicate()
        status, _, output, errors = node.stop(signal.SIGINT)
    assert status == 0, errors
    assert "ready" not in output and "Traceback" not in errors
    assert alive(children) == []


async def test_calls_in_flight_hold_it_up_no_longer_than_the_time_for_draining(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "palestra.toml").write_text("drain_seconds = 0.5\n")
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), "--database-url", database_url) as node:
        port = node.wait_ready()["port"]
        calls = [threading.Thread(target=_slow, args=(port,)) for _ in range(3)]
        for call in calls:
            call.start()
        _wait_in_flight(node.wait_ready()["console_port"], 3)
        status, seconds, _, errors = node.stop(signal.SIGTERM)
        for call in calls:
            call.join()
    assert status == 0, errors
    assert seconds < 4


def _slow(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/rpc/slow?http_key=defaulthttpkey", data=b'""', method="POST"
    )
    with contextlib.suppress(OSError):
        urllib.request.urlopen(request, timeout=30).close()


def _wait_in_flight(console_port: int, count: int) -> None:
    until = time.monotonic() + SECONDS_MAX
    while f"palestra_calls_in_flight {count}.0".encode() not in get(console_port, "/metrics")[1]:
        assert time.monotonic() < until, "the calls do not get there"


async def test_a_taken_port_is_told_and_nothing_is_left_running(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag, more in (("--port", ()), ("--console-port", ("--database-url", database_url))):
            with running(tmp_path, "--data-dir", str(tmp_path / "data"), flag, str(port), *more) as node:
                output, errors = node.process.communicate(timeout=30)
                assert node.process.returncode == 1
                assert "Traceback" not in errors and f"127.0.0.1:{port}" in errors and flag in errors
                assert "ready" not in output
            assert not (tmp_path / "data/pg/postmaster.pid").exists()


async def test_without_the_key_ring_of_the_database_it_refuses_and_makes_no_other(
    database_url: str, tmp_path: Path
) -> None:
    async with Platform.start(database_url=database_url):
        pass
    here = ("--database-url", database_url, "--data-dir", str(tmp_path / "data"), "--port", "0", "--console-port", "0")
    for more in ((), ("--workers", "2")):
        done = palestra("run", *more, *here, cwd=tmp_path)
        assert done.returncode == 1
        assert f"palestra: there is no key ring {tmp_path}/data/keyring.json, and the identifiers" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "data/keyring.json").exists()


def test_mistakes_are_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve.log, "configure", lambda *_: None)
    (tmp_path / "broken.py").write_text("from palestra import Game\ngame = Game('x')\n1 / 0\n")
    common = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--console-port", "0")
    done = palestra("run", "broken.py", *common, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("palestra: ") and "ZeroDivisionError" in done.stderr
    assert "serve.py" not in done.stderr
    for arguments, told in (
        (("run", "missing.py", *common), "there is no game module"),
        (("run", "--database-url", "mysql://x", *common), "must begin with postgresql://"),
        (
            ("run", "--production", *common),
            "refuses default secrets: socket.server_key",
        ),
        (("run", "--config", "missing.toml", *common), "there is no settings file"),
    ):
        with pytest.raises(SetupError) as refused:
            app(arguments)
        assert told in str(refused.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_an_unprivileged_user_runs_it_just_as_well() -> None:
    folder = Path(tempfile.mkdtemp(prefix="palestra-nobody-", dir="/tmp"))
    try:
        os.chown(folder, 65534, 65534)
        # The checkout may lie in a directory of root's own: this account may read it, and nothing more than that.
        # The secure bit keeps that true for access(2), by which PostgreSQL looks at its own programs.
        read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--securebits=+no_setuid_fixup")
        become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *read)
        with running(folder, "--data-dir", str(folder / "data"), before=become) as node:
            ready = node.wait_ready()
            assert get(ready["console_port"], "/ready")[0] == 200
            started = node.descendants()
            status, _, _, errors = node.stop(signal.SIGINT)
        assert status == 0, errors
        assert alive(started) == []
        assert json.loads((folder / "data/keyring.json").read_text())["keys"]
    finally:
        shutil.rmtree(folder)
