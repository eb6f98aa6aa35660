"""`palestra migrate`, `check`, `doctor` and `config`."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg
import msgspec
from rich.console import Console
from rich.text import Text

from palestra.cli.ledger import attached
from palestra.cluster.cluster import check_urls, transport_for
from palestra.core.config import HIDDEN, SECRETS, LoadedSettings, Settings, check_production, default_secrets, keys
from palestra.core.errors import PalestraError, SetupError
from palestra.database.embedded import EmbeddedPostgres, binaries
from palestra.database.migrate import migrate
from palestra.database.pool import Database, check_pooler, redacted
from palestra.database.sealed import KeyRing
from palestra.features.accounts.key_ring import compared, known_key_ring
from palestra.features.nodes.contract import NodeRow
from palestra.features.nodes.service import refuse_company
from palestra.features.nodes.store import NodeStore
from palestra.sdk.bounds import Bounds
from palestra.sdk.loader import load_games
from palestra.sdk.runtime import Runtime

T = TypeVar("T")
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
"""Settings of PostgreSQL without which a crash loses what was answered."""

# Values and messages are shown as they are, brackets included.
out = Console(highlight=False, soft_wrap=True, markup=False)


def migrate_only(settings: Settings) -> int:
    """Apply what is missing; the exit status."""

    async def work() -> list[str]:
        postgres = None if settings.database_url else EmbeddedPostgres(Path(settings.data_dir))
        try:
            url = settings.database.direct_url or settings.database_url or (await postgres.start() if postgres else "")
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

    games = load_games(modules)
    runtime = Runtime(Bounds(1.0))
    runtime.table = table()
    runtime.check(games)
    for game in games:
        hooks = len(game.before_hooks) + len(game.after_hooks)
        for folder in game.static_folders:
            if not folder.folder.is_dir():
                raise SetupError(f"{game.name}: static folder {folder.folder} does not exist")
        jobs = f"{len(game.jobs)} jobs, " if game.jobs else ""
        matches = f"{len(game.matches)} matches, " if game.matches else ""
        told = f"{len(game.functions)} functions, {hooks} hooks, {jobs}{matches}no mistakes found"
        out.print(f"{game.name}: {told}")
    return 0


def print_settings(loaded: LoadedSettings) -> int:
    """All settings with their sources."""
    rows = [("setting", "value", "from")]
    hidden = {*HIDDEN, *(key for key, _ in SECRETS)}
    tree = msgspec.to_builtins(loaded.settings)
    for key in keys():
        if key == "providers":
            rows += _providers(loaded)
            continue
        value = tree
        for part in key.split("."):
            value = value[part]
        source = loaded.sources.get(key, "default")
        shown = "(hidden)" if key in hidden and source != "default" else redacted(str(value))
        rows.append((key, shown, source))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, shown, source in rows:
        out.print(f"{key:<{widths[0]}}  {shown:<{widths[1]}}  {source}")
    return 0


def _providers(loaded: LoadedSettings) -> list[tuple[str, str, str]]:
    """The settings of providers; of their keys only the ids."""
    rows: list[tuple[str, str, str]] = []
    for name, provider in loaded.settings.providers.items():
        for key, value in msgspec.structs.asdict(provider).items():
            shown = ", ".join(f"{key_id} (hidden)" for key_id in value) if key == "keys" else str(value)
            rows.append((f"providers.{name}.{key}", shown, loaded.sources["providers"]))
    return rows


def examine(settings: Settings) -> int:
    """Look at everything a node needs; each line says what is fine, or what is wrong and how to mend it."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("game port", lambda: _port(settings.host, settings.port, "--port")),
        ("console port", lambda: _port(settings.host, settings.console_port, "--console-port")),
        ("data directory", lambda: _directory(Path(settings.data_dir))),
        ("PostgreSQL", lambda: _postgres(settings)),
        ("key ring", lambda: _key_ring(settings)),
        ("replicas", lambda: _replicas(settings)),
        ("bus", lambda: _bus(settings)),
        ("secrets", lambda: _secrets(settings)),
    ]
    wrong = 0
    for name, look in checks:
        try:
            found = look()
            out.print(Text("fine ", "green"), f" {name}: {found}")
        except (SetupError, PalestraError) as error:
            wrong += 1
            out.print(Text("wrong", "red"), f" {name}: {error}")
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
    # What is wrong with the file itself is told without a database.
    KeyRing.load(file)
    if compared(file, _asked(settings, known_key_ring, None)) is None:
        return f"{file} will be made at the first start; back it up then"
    return f"{file}; is it in your backup?"


def _asked(settings: Settings, ask: Callable[[Database], Awaitable[T]], otherwise: T) -> T:
    """What the database answers; `otherwise` where its tables, or itself, are yet to be made."""
    if not settings.database_url and not (Path(settings.data_dir) / "pg").exists():
        return otherwise

    async def look() -> T:
        async with attached(settings) as database:
            await database.open()
            try:
                return await ask(database)
            except asyncpg.UndefinedTableError:
                return otherwise
            finally:
                await database.close()

    try:
        return asyncio.run(look())
    except (SetupError, PalestraError) as error:
        raise SetupError(f"this can be told only by the database: {error}") from error


def _postgres(settings: Settings) -> str:
    if not settings.database_url:
        return f"embedded, {binaries()}"

    async def look() -> tuple[int, list[str]]:
        database = Database(settings.database_url, direct_url=settings.database.direct_url)
        await check_pooler(database)
        connection = await database.connect_directly()
        try:
            off = [name for name in DURABLE if await connection.fetchval(f"SHOW {name}") == "off"]
            return connection.get_server_version().major, off
        finally:
            await connection.close()

    found, off = asyncio.run(look())
    if found < 15:
        raise SetupError(f"PostgreSQL {found} is too old; 15 or newer is needed")
    if off:
        raise SetupError(f"PostgreSQL may lose what it has answered: {', '.join(off)} is off; switch it on")
    return f"version {found}"


def _replicas(settings: Settings) -> str:
    async def look(url: str) -> bool:
        connection = await Database(url, writable=False).connect()
        try:
            return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))
        finally:
            await connection.close()

    urls = settings.database.replica_urls
    for url in urls:
        if not asyncio.run(look(url)):
            raise SetupError(f"{redacted(url)} is no streaming replica; it will not be read from")
    return str(len(urls) or "none")


def _bus(settings: Settings) -> str:
    url = settings.cluster.bus_url or settings.redis_url
    if not url and settings.workers > 1:
        return "a Valkey of the workers' own, started with them"
    found = _bus_at(url, settings) if url else "none, as fits a single node"
    if settings.database_url:
        nodes: list[NodeRow] = _asked(settings, lambda database: NodeStore(database).read_all(), [])
        refuse_company(nodes, settings.node, alone=not url)
    return found


def _bus_at(url: str, settings: Settings) -> str:
    check_urls(settings)

    async def look() -> None:
        transport = transport_for(url, settings.cluster.name)
        await transport.open("doctor", lambda _: None, lambda _: None)
        await transport.close()

    asyncio.run(look())
    return f"{redacted(url)} answers"


def _secrets(settings: Settings) -> str:
    if settings.production:
        check_production(settings)
    return "default, fine for development only" if default_secrets(settings) else "your own"
