"""Fixtures for tests that start, stop and kill servers of their own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from palestra.database.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an empty database, stopped in good order."""
    data_dir = tmp_path_factory.mktemp("made")
    server = EmbeddedPostgres(data_dir)

    async def start_and_stop() -> None:
        await server.start()
        await server.stop()

    asyncio.run(start_and_stop())
    return data_dir


@pytest.fixture
def with_database(made_once: Path) -> Callable[[Path], Path]:
    """Puts an empty database into a data directory: much faster than having one made."""

    def put(data_dir: Path) -> Path:
        shutil.copytree(made_once / "pg", data_dir / "pg")
        return data_dir

    return put
