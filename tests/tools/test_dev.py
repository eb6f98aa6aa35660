"""The `./dev` script in a checkout that is already set up: what it starts, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the script whose programs print how they were called and end with status 5."""
    shutil.copy(ROOT / "dev", tmp_path / "dev")
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pyproject.toml").write_text("")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "palestra"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*"\nexit 5\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".venv" / "set-up-stamp").write_text(hashlib.sha256(bytes(tmp_path.resolve()) + b"\0").hexdigest())
    return tmp_path


def _dev(checkout: Path, *arguments: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(checkout / "dev"), *arguments],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_empty_test_run_fails(checkout: Path) -> None:
    done = _dev(checkout, "test", "-m", "not browser and not servers")
    assert done.returncode == 5
    assert done.stdout == "python -m pytest -n 2 --dist loadfile -q -m not browser and not servers\n"


def test_run_starts_the_example_game_and_passes_flags_on(checkout: Path) -> None:
    done = _dev(checkout, "run", "--port", "8000", path="")
    assert done.stdout == "palestra run examples/arena/game.py --port 8000\n"
    assert "npm was not found" in done.stderr


def test_run_starts_the_game_that_is_named_instead(checkout: Path) -> None:
    assert _dev(checkout, "run", "mine.py", "--reload", path="").stdout == "palestra run mine.py --reload\n"


def test_an_unknown_command_is_answered_with_the_known_ones(checkout: Path) -> None:
    done = _dev(checkout, "tset")
    assert done.returncode == 2
    assert "run, test, check, bench, map" in done.stderr


def test_without_wrk_and_without_apt_the_bench_says_what_to_install(checkout: Path) -> None:
    done = _dev(checkout, "bench", path="")
    assert done.returncode == 1
    assert "wrk is needed" in done.stderr


def test_without_haproxy_and_without_apt_the_tests_say_what_to_install_and_how_to_go_without(checkout: Path) -> None:
    # The script adds the folders where servers are, and one of this machine's may be there.
    script = checkout / "dev"
    script.write_text(script.read_text().replace("/usr/local/sbin", "/nowhere").replace("/usr/sbin", "/nowhere"))
    done = _dev(checkout, "test", "-m", "not browser", path="")
    assert done.returncode == 1
    assert "haproxy is needed" in done.stderr
    assert "-m 'not servers'" in done.stderr


def test_without_ip_only_root_is_told_to_install_it(checkout: Path) -> None:
    script = checkout / "dev"
    script.write_text(script.read_text().replace("/usr/local/sbin", "/nowhere").replace("/usr/sbin", "/nowhere"))
    for server in ("haproxy", "nginx", "memcached", "pgbouncer"):
        (checkout / server).symlink_to(sys.executable)
    done = _dev(checkout, "test", "-m", "not browser", path=str(checkout))
    may_make_networks = sys.platform == "linux" and os.geteuid() == 0
    assert ("iproute2 is needed" in done.stderr) == may_make_networks
    assert done.returncode == (1 if may_make_networks else 5)
