"""The commands around a node: config, migrate, check, doctor, map."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import asyncpg
import pytest

from palestra.cli.main import app
from palestra.core.config import DatabaseSettings, Settings
from palestra.core.errors import SetupError
from palestra.database.sealed import KeyRing
from palestra.testing import Platform
from tests.cli.nodes import palestra, running
from tests.cluster.several import several


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_config_shows_every_setting_with_its_source_and_no_secret(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "palestra.toml").write_text(
        'node = "[red]a"\n[runtime]\nhttp_key = "hush-one"\n[runtime.env]\nk = "hush-two"\n'
    )
    monkeypatch.setenv("PALESTRA_DATABASE_URL", "postgresql://ann:hush-three@db.example:5432/game")
    monkeypatch.setenv("PALESTRA_SOCIAL_STEAM_PUBLISHER_KEY", "hush-five")
    monkeypatch.setenv("PALESTRA_REDIS_URL", "redis://:hush-four@cache.example")
    assert app(["config"]) == 0
    shown = capsys.readouterr().out
    assert "hush" not in shown
    lines = {line.split()[0]: line.strip().split(maxsplit=2)[1:] for line in shown.splitlines() if line.strip()}
    assert lines["runtime.http_key"] == ["(hidden)", "palestra.toml"]
    assert lines["node"] == ["[red]a", "palestra.toml"]
    assert lines["session.token_seconds"] == ["3600", "default"]
    assert lines["database_url"][0] == "postgresql://ann:***@db.example:5432/game"
    assert "environment variable PALESTRA_DATABASE_URL" in lines["database_url"][1]


async def test_migrate_makes_the_tables_once(postgres_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE DATABASE empty_one")
    url = postgres_url.replace("/postgres?", "/empty_one?")
    try:
        first = palestra("migrate", "--database-url", url, cwd=tmp_path)
        assert first.returncode == 0 and "migrating: " in first.stdout and " applied" in first.stdout
        again = palestra("migrate", "--database-url", url, cwd=tmp_path)
        assert again.stdout.strip() == "nothing to do: the tables are up to date"
    finally:
        await connection.execute("DROP DATABASE empty_one WITH (FORCE)")
        await connection.close()


def test_check_tells_the_mistake_and_the_status_says_so(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "from palestra import Game\ngame = Game('x')\n@game.after('matches.crate')\nasync def f(ctx, a, b): ...\n"
    )
    done = palestra("check", "wrong.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no operation 'matches.crate'; did you mean 'matches.create'?" in done.stderr
    assert f"f ({tmp_path}/wrong.py:3)" in done.stderr


def test_doctor_finds_what_is_wrong_and_says_how_to_mend_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / ".palestra").mkdir()
    (here / ".palestra/keyring.json").write_text("{}")
    (here / ".palestra/keyring.json").chmod(0o644)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("PALESTRA_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("PALESTRA_CONSOLE_PORT", "0")
        monkeypatch.setenv("PALESTRA_PRODUCTION", "true")
        monkeypatch.setenv("PALESTRA_REDIS_URL", "redis://127.0.0.1:1")
        assert app(["doctor", "--database-url", "postgresql://nobody@127.0.0.1:1/none"]) == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": " in line)
    assert "choose another with --port" in lines["wrong  game port"]
    assert "chmod 600" in lines["wrong  key ring"] or "other accounts" in lines["wrong  key ring"]
    assert "wrong  PostgreSQL" in lines
    assert "Valkey at 127.0.0.1:1 cannot be used" in lines["wrong  bus"]
    assert "socket.server_key" in lines["wrong  secrets"]
    assert "is free" in lines["fine   console port"]


def test_doctor_is_content_with_a_good_set_up(here: Path) -> None:
    done = palestra("doctor", cwd=here, PALESTRA_PORT="0", PALESTRA_CONSOLE_PORT="0")
    assert done.returncode == 0, done.stdout
    assert "wrong" not in done.stdout and "PostgreSQL: embedded" in done.stdout


async def test_doctor_names_what_lets_a_server_lose_answers(here: Path, database_url: str) -> None:
    # The server of the tests is such a one.
    done = palestra("doctor", "--database-url", database_url, cwd=here, PALESTRA_PORT="0", PALESTRA_CONSOLE_PORT="0")
    assert done.returncode == 1
    assert "wrong  PostgreSQL: PostgreSQL may lose what it has answered: fsync" in done.stdout


async def test_doctor_compares_the_key_ring_with_the_database(database_url: str, tmp_path: Path) -> None:
    def told(name: str) -> str:
        here = {"PALESTRA_PORT": "0", "PALESTRA_CONSOLE_PORT": "0", "PALESTRA_DATABASE_KEY_RING_FILE": name}
        done = palestra("doctor", "--database-url", database_url, cwd=tmp_path, **here)
        (line,) = [line for line in done.stdout.splitlines() if " key ring: " in line]
        return line

    assert told("ours.json") == "fine   key ring: ours.json will be made at the first start; back it up then"
    limits = DatabaseSettings(key_ring_file=str(tmp_path / "ours.json"))
    async with Platform.start(database_url=database_url, settings=Settings(database=limits)):
        pass
    KeyRing.load_or_create(tmp_path / "other.json")
    assert told("ours.json") == "fine   key ring: ours.json; is it in your backup?"
    assert told("missing.json").startswith("wrong  key ring: there is no key ring missing.json, and the identifiers")
    assert told("other.json").startswith("wrong  key ring: the identifiers in the database are sealed with another")


def test_doctor_looks_into_an_embedded_database_for_its_key_ring(tmp_path: Path) -> None:
    ports = {"PALESTRA_PORT": "0", "PALESTRA_CONSOLE_PORT": "0"}
    assert palestra("migrate", cwd=tmp_path).returncode == 0
    done = palestra("doctor", cwd=tmp_path, **ports)
    assert done.returncode == 0 and "keyring.json will be made at the first start" in done.stdout
    with running(tmp_path) as node:
        node.wait_ready()
        assert node.stop(signal.SIGTERM)[0] == 0
    (tmp_path / ".palestra/keyring.json").unlink()
    done = palestra("doctor", cwd=tmp_path, **ports)
    assert done.returncode == 1 and "wrong  key ring: there is no key ring" in done.stdout


async def test_doctor_tells_of_other_nodes_that_a_node_without_a_bus_would_not_hear(
    database_url: str, tmp_path: Path
) -> None:
    async def told(**more: str) -> str:
        asked = ("doctor", "--database-url", database_url)
        ports = {"PALESTRA_PORT": "0", "PALESTRA_CONSOLE_PORT": "0"}
        done = await asyncio.to_thread(palestra, *asked, cwd=tmp_path, **ports, **more)
        (line,) = [line for line in done.stdout.splitlines() if " bus: " in line]
        return line

    alone = "fine   bus: none, as fits a single node"
    async with several(database_url, names="a"):
        assert (await told()).startswith("wrong  bus: the node 'a' lives on this database already, and without a bus")
        assert await told(PALESTRA_NODE="a") == alone
        assert await told(PALESTRA_WORKERS="2") == "fine   bus: a Valkey of the workers' own, started with them"
    assert await told() == alone


def test_map_prints_every_operation_or_writes_the_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["map"]) == 0
    page = capsys.readouterr().out
    assert "| `accounts.get` | GET `/v2/account` | session |" in page
    assert "| `rpc.call` | socket `rpc` | session |" in page
    assert app(["map", "--write"]) == 0
    assert (here / "docs/reference/operations.md").read_text() == page


def test_a_misspelt_environment_variable_stops_every_command(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALESTRA_PROT", "1")
    for command in ("config", "doctor", "migrate"):
        with pytest.raises(SetupError, match="did you mean 'PALESTRA_PORT'"):
            app([command])
