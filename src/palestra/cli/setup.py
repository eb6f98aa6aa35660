"""`palestra migrate`, `check`, `doctor` and `config`."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from palestra.core.config import SECRETS, LoadedSettings, Settings, keys
from palestra.core.errors import PalestraError, SetupError
from palestra.database.embedded import EmbeddedPostgres, binaries
from palestra.database.migrate import migrate
from palestra.database.pool import Database
from palestra.sdk.bounds import Bounds
from palestra.sdk.loader import load_games
from palestra.sdk.runtime import Runtime

out = Console(highlight=False, soft_wrap=True)


def migrate_only(settings: Settings) -> int:
    """Apply what is missing; the exit status."""

    async def work() -> list[str]:
        postgres = None if settings.database_url else EmbeddedPostgres(Path(settings.data_dir))
        try:
            url = settings.database_url or (await postgres.start() if postgres else "")
            database = Database(url)
            return await migrate(database, lambda name: out.print(f"migrating: {name}"))
        finally:
            if postgres is not None:
                await postgres.stop()

    applied = asyncio.run(work())
    out.print(f"{len(applied)} applied" if applied else "nothing to do: the tables are up to date")
    return 0


def check_modules(modules: list[Path]) -> int:
    """Load modules and check them against the operation table; the exit status."""
    from palestra.app.build import table

    games = [game for module in modules for game in load_games(module)]
    runtime = Runtime(Bounds(1.0))
    runtime.table = table()
    runtime.check(games)
    for game in games:
        hooks = len(game.before_hooks) + len(game.after_hooks)
        for folder in game.static_folders:
            if not folder.folder.is_dir():
                raise SetupError(f"{game.name}: static folder {folder.folder} does not exist")
        out.print(f"{game.name}: {len(game.functions)} functions, {hooks} hooks, no mistakes found")
    return 0


def print_settings(loaded: LoadedSettings) -> int:
    """All settings with their sources."""
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    secrets = {key for key, _ in SECRETS}
    tree = msgspec.to_builtins(loaded.settings)
    for key in keys():
        value = tree
        for part in key.split("."):
            value = value[part]
        source = loaded.sources.get(key, "default")
        shown = "(hidden)" if key in secrets and source != "default" else _without_password(str(value))
        table.add_row(key, shown, source)
    out.print(table)
    return 0


def _without_password(text: str) -> str:
    head, at, tail = text.rpartition("@")
    return f"{head.split(':')[0]}:***@{tail}" if at and "://" in head and head.count(":") > 1 else text


def examine(settings: Settings) -> int:
    """Look at everything a node needs; each line says what is fine, or what is wrong and how to mend it."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("game port", lambda: _port(settings.host, settings.port, "--port")),
        ("console port", lambda: _port(settings.host, settings.console_port, "--console-port")),
        ("data directory", lambda: _directory(Path(settings.data_dir))),
        ("key ring", lambda: _key_ring(settings)),
        ("PostgreSQL", lambda: _postgres(settings)),
        ("secrets", lambda: _secrets(settings)),
    ]
    wrong = 0
    for name, look in checks:
        try:
            out.print(f"[green]fine[/]   {name}: {look()}")
        except (SetupError, PalestraError) as error:
            wrong += 1
            out.print(f"[red]wrong[/]  {name}: {error}")
    return 1 if wrong else 0


def _port(host: str, port: int, flag: str) -> str:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SetupError(f"{host}:{port} cannot be used ({error.strerror}); choose another with {flag}") from None
    return f"{host}:{port} is free"


def _directory(folder: Path) -> str:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise SetupError(f"{existing} is not writable; choose another place with --data-dir")
    free = shutil.disk_usage(existing).free
    if free < 512 * 1024 * 1024:
        raise SetupError(f"only {free // 2**20} MiB free at {existing}; PostgreSQL needs room to write")
    return f"{folder.absolute()}, {free // 2**30} GiB free"


def _key_ring(settings: Settings) -> str:
    file = Path(settings.database.key_ring_file or Path(settings.data_dir) / "keyring.json")
    if not file.exists():
        return f"{file} will be made at the first start; back it up then"
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise SetupError(f"{file} can be read by others; run: chmod 600 {file}")
    return f"{file}; is it in your backup?"


def _postgres(settings: Settings) -> str:
    if not settings.database_url:
        return f"embedded, {binaries()}"

    async def version() -> str:
        database = Database(settings.database_url)
        connection = await database.connect()
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    found = asyncio.run(version())
    if int(found.split(".")[0].split()[0]) < 15:
        raise SetupError(f"PostgreSQL {found} is too old; 15 or newer is needed")
    return f"version {found}"


def _secrets(settings: Settings) -> str:
    tree = msgspec.to_builtins(settings)
    default = [key for key, known in SECRETS if tree[key.split(".")[0]][key.split(".")[1]] == known]
    if default and settings.production:
        raise SetupError(f"defaults that everybody knows: {', '.join(default)}")
    return "default, fine for development only" if default else "your own"
