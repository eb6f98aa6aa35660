"""`palestra ledger verify` and `ledger root`, beside a node and alone."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from palestra.cli.main import app
from palestra.core.errors import SetupError
from palestra.database.embedded import EmbeddedPostgres
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing, Sealer
from palestra.features.ledger.audit import LedgerAudit
from palestra.features.ledger.roots import Root
from tests.cli.nodes import palestra, running
from tests.features.ledger.audited import World, world


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, without a terminal."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def past(w: World, folder: Path) -> tuple[int, Root]:
    """A grant, two moves, and a root signed with the key ring of the folder; the id of the first move."""
    sealer = Sealer(KeyRing.load_or_create(folder / ".palestra/keyring.json"))
    await w.grant(50)
    moved = (await w.move(3)).entry
    await w.move(4)
    root = await LedgerAudit(w.database, sealer, w.clock).sign_root()
    assert root is not None
    return moved, root


async def test_verify_says_what_it_proved_and_names_what_is_broken(
    database: Database, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world(database) as w:
        moved, root = await past(w, here)
        capsys.readouterr()

        def command(*arguments: str) -> tuple[int, str]:
            status = app(["ledger", *arguments, "--database-url", database.url])
            return status, capsys.readouterr().out

        status, said = await asyncio.to_thread(command, "verify")
        assert status == 0
        assert said.startswith("3 lines on 1 strands, 12 accounts of 2 assets, 0 open holds, 1 roots\n")
        assert root.root.hex() in said and root.public_key.hex() in said
        assert "checked with the key ring of this machine" in said and said.endswith("the ledger is whole\n")
        status, said = await asyncio.to_thread(command, "root")
        assert status == 0 and said.split()[:4] == ["root", "of", "2025-06-15", root.root.hex()]
        own = ("--public-key", "00" * 32, "--public-key", root.public_key.hex(), "--root", root.root.hex())
        assert (await asyncio.to_thread(command, "verify", *own))[0] == 0
        status, said = await asyncio.to_thread(command, "verify", "--public-key", "00" * 32)
        assert status == 1 and "root of 2025-06-15: it is signed by another key" in said
        await w.tamper("UPDATE ledger_lines SET amount = 1 WHERE id = $1", moved)
        status, said = await asyncio.to_thread(command, "verify")
        assert status == 1
        assert f"BROKEN: 5 faults, the first one first\nline {moved}: it was changed\n    expected hash" in said


async def test_root_says_that_there_is_none_yet(
    database_url: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(app, ["ledger", "root", "--database-url", database_url]) == 1
    assert capsys.readouterr().out == "no root has been signed yet\n"


async def test_a_database_without_a_ledger_is_said_to_be_none(postgres_url: str, here: Path) -> None:
    for command in ("verify", "root"):
        with pytest.raises(SetupError, match="palestra migrate"):
            await asyncio.to_thread(app, ["ledger", command, "--database-url", postgres_url])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--public-key", "abc"], "--public-key abc: write 32 bytes as 64 hex digits"),
        (["--root", "00"], "--root 00: write 32 bytes as 64 hex digits"),
        (["--since", "yesterday"], "--since yesterday: write a day as 2026-01-31"),
        ([], "there is no database in .palestra"),
    ],
)
def test_what_cannot_be_understood_is_said(here: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        app(["ledger", "verify", *arguments])


def test_verify_reads_the_database_of_a_node_that_runs_and_of_one_that_does_not(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        node.wait_ready()
        beside = palestra("ledger", "verify", cwd=tmp_path)
        assert (beside.returncode, beside.stderr) == (0, "")
        assert beside.stdout.startswith("0 lines on ") and beside.stdout.endswith("the ledger is whole\n")
        assert node.process.poll() is None
        assert node.stop(signal.SIGTERM)[0] == 0
    alone = palestra("ledger", "verify", cwd=tmp_path)
    assert (alone.returncode, alone.stdout) == (0, beside.stdout)
    assert EmbeddedPostgres(tmp_path / ".palestra").running_url() is None
