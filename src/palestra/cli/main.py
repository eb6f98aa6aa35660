"""The commands: run, work, migrate, check, doctor, config, map, reconcile, replay, ledger, cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from palestra.core.config import FILE_NAME, LoadedSettings, check_production, load_settings
from palestra.core.errors import PalestraError, SetupError

app = App(
    name="palestra",
    help="The backend platform an online game runs on.",
    version_flags=["--version"],
    result_action="return_value",
)
Flag = Parameter(negative="")
ledger = App(name="ledger", help="Prove the ledger.")
app.command(ledger)
cluster = App(name="cluster", help="See the nodes of a platform.")
app.command(cluster)


@app.command
def run(
    *modules: Path,
    host: str | None = None,
    port: int | None = None,
    console_port: int | None = None,
    data_dir: str | None = None,
    database_url: str | None = None,
    redis_url: str | None = None,
    node: str | None = None,
    workers: int | None = None,
    reload: Annotated[bool | None, Flag] = None,
    production: Annotated[bool | None, Flag] = None,
    config: Path | None = None,
    ready_file: Path | None = None,
) -> int:
    """Start a node with the given game modules; without any, with the example game.

    Parameters
    ----------
    modules: Python files that declare games.
    host: Address to listen on.
    port: Port for clients, HTTP and sockets; 0 takes any free one.
    console_port: Port for operators: health, readiness, metrics; 0 takes any free one.
    data_dir: Folder of the embedded PostgreSQL and the key ring.
    database_url: PostgreSQL to use instead of the embedded one.
    redis_url: Valkey or Redis, for more than one node.
    node: Name of this node.
    workers: Processes on this machine.
    reload: Load changed game code without dropping sockets.
    production: Refuse default secrets, log JSON.
    config: Settings file; palestra.toml in this folder by default.
    ready_file: Write {"port", "console_port", "pid"} to this file once the node serves.
    """
    flags = {
        "host": host,
        "port": port,
        "console_port": console_port,
        "data_dir": data_dir,
        "database_url": database_url,
        "redis_url": redis_url,
        "node": node,
        "workers": workers,
        "reload": reload,
        "production": production,
    }
    loaded = _settings(config, flags)
    settings = loaded.settings
    if settings.production:
        check_production(settings)
    from palestra.cli.serve import serve

    return serve(settings, list(modules), ready_file)


@app.command
def work(
    *modules: Path,
    database_url: str | None = None,
    redis_url: str | None = None,
    data_dir: str | None = None,
    host: str | None = None,
    console_port: int | None = None,
    node: str | None = None,
    production: Annotated[bool | None, Flag] = None,
    config: Path | None = None,
    ready_file: Path | None = None,
) -> int:
    """Run the jobs of a database that nodes share, with the game modules of those nodes, and nothing else.

    Parameters
    ----------
    modules: Python files that declare games.
    database_url: PostgreSQL of the nodes.
    redis_url: Valkey or Redis of the nodes, where there are several.
    data_dir: Folder of the key ring.
    host: Address of the console port.
    console_port: Port for operators; none is opened where it is not set.
    node: Name of this worker.
    production: Refuse default secrets, log JSON.
    config: Settings file; palestra.toml in this folder by default.
    ready_file: Write {"port", "console_port", "pid"} to this file once it works; the port is 0.
    """
    flags = {
        "database_url": database_url,
        "redis_url": redis_url,
        "data_dir": data_dir,
        "host": host,
        "console_port": console_port,
        "node": node,
        "production": production,
    }
    loaded = _settings(config, flags)
    settings = loaded.settings
    if settings.production:
        check_production(settings)
    from palestra.cli import serve

    return serve.work(settings, list(modules), "console_port" in loaded.sources, ready_file)


@app.command
def migrate(*, data_dir: str | None = None, database_url: str | None = None, config: Path | None = None) -> int:
    """Bring the database's tables up to date and leave.

    Parameters
    ----------
    data_dir: Folder of the embedded PostgreSQL.
    database_url: PostgreSQL to use instead of the embedded one.
    config: Settings file.
    """
    from palestra.cli.setup import migrate_only

    return migrate_only(_settings(config, {"data_dir": data_dir, "database_url": database_url}).settings)


@app.command
def check(module: Path, *more: Path) -> int:
    """Find mistakes in game modules: misspelt hooks, wrong signatures, types that cannot be read. Needs no database.

    Parameters
    ----------
    module: Python file that declares a game.
    more: Further ones.
    """
    from palestra.cli.setup import check_modules

    return check_modules([module, *more])


@app.command
def doctor(*, data_dir: str | None = None, database_url: str | None = None, config: Path | None = None) -> int:
    """Say what is wrong with this set-up and how to mend it.

    Parameters
    ----------
    data_dir: Folder of the embedded PostgreSQL and the key ring.
    database_url: PostgreSQL to use instead of the embedded one.
    config: Settings file.
    """
    from palestra.cli.setup import examine

    return examine(_settings(config, {"data_dir": data_dir, "database_url": database_url}).settings)


@app.command(name="config")
def show_config(*, config: Path | None = None) -> int:
    """Print the settings in force and where each came from; secrets are hidden.

    Parameters
    ----------
    config: Settings file.
    """
    from palestra.cli.setup import print_settings

    return print_settings(_settings(config, {}))


@app.command(name="map")
def show_map(*, write: Annotated[bool, Flag] = False) -> int:
    """Print every operation with its transport, authentication, limit and place.

    Parameters
    ----------
    write: Write docs/reference/operations.md in this folder instead.
    """
    from palestra.app.map import render

    page = render()
    if write:
        file = Path("docs/reference/operations.md")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page)
    else:
        print(page, end="")
    return 0


@cluster.command(name="status")
def cluster_status(
    *,
    json: Annotated[bool, Flag] = False,
    data_dir: str | None = None,
    database_url: str | None = None,
    config: Path | None = None,
) -> int:
    """Show the nodes on a database, what each one has, who holds which lease, and how far replicas are behind.

    The exit status is 1 when a node has fallen silent or cannot reach the others.

    Parameters
    ----------
    json: One JSON document instead of tables.
    data_dir: Folder of the embedded PostgreSQL.
    database_url: PostgreSQL of the nodes.
    config: Settings file.
    """
    from palestra.cli.cluster import status

    return status(_settings(config, {"data_dir": data_dir, "database_url": database_url}).settings, as_json=json)


@cluster.command(name="forget")
def cluster_forget(
    name: str, /, *, data_dir: str | None = None, database_url: str | None = None, config: Path | None = None
) -> int:
    """Drop a node from the list that died and will not come back under its name; one that lives is refused.

    Parameters
    ----------
    name: The node as `palestra cluster status` names it.
    data_dir: Folder of the embedded PostgreSQL.
    database_url: PostgreSQL of the nodes.
    config: Settings file.
    """
    from palestra.cli.cluster import forget

    return forget(_settings(config, {"data_dir": data_dir, "database_url": database_url}).settings, name)


@app.command
def reconcile(
    provider: str,
    feed: Path | None = None,
    *,
    day: str,
    data_dir: str | None = None,
    database_url: str | None = None,
    config: Path | None = None,
) -> int:
    """Make the report of a provider's day, and name every difference from the provider's own list of transactions.

    Parameters
    ----------
    provider: Its name in the settings.
    feed: The provider's transactions of that day, a .csv or .ndjson file.
    day: A UTC day, such as 2026-01-31.
    data_dir: Folder of the embedded PostgreSQL.
    database_url: PostgreSQL to use instead of the embedded one.
    config: Settings file.
    """
    from palestra.cli.reconcile import reconcile_day

    loaded = _settings(config, {"data_dir": data_dir, "database_url": database_url})
    return reconcile_day(loaded.settings, provider, day, feed)


@app.command
def replay(file: Path, module: Path | None = None) -> int:
    """Run a recorded match again and compare its states with the record; exit status 1 at the first difference.

    Parameters
    ----------
    file: Record of a match, an .ndjson file.
    module: Python file that declares the game; by default the one the record names.
    """
    from palestra.cli.replay import replay_file

    return replay_file(file, module)


@ledger.command
def verify(
    *,
    data_dir: str | None = None,
    database_url: str | None = None,
    config: Path | None = None,
    public_key: list[str] | None = None,
    root: str | None = None,
    since: str | None = None,
) -> int:
    """Prove every line, balance, hold and root, and name the first that is broken. A node may run meanwhile.

    Parameters
    ----------
    data_dir: Folder of the embedded PostgreSQL and the key ring.
    database_url: PostgreSQL to use instead of the embedded one.
    config: Settings file.
    public_key: Who may sign roots, in hex; may be given several times.
    root: A root that was kept apart from the database, in hex; it must be among those there.
    since: Believe the root of this UTC day, such as 2026-01-31, and prove what came after.
    """
    from palestra.cli.ledger import verify_ledger

    settings = _settings(config, {"data_dir": data_dir, "database_url": database_url}).settings
    return verify_ledger(settings, public_key or [], root, since)


@ledger.command(name="root")
def show_root(*, data_dir: str | None = None, database_url: str | None = None, config: Path | None = None) -> int:
    """Print the latest signed root of the ledger, to be kept apart from the database.

    Parameters
    ----------
    data_dir: Folder of the embedded PostgreSQL.
    database_url: PostgreSQL to use instead of the embedded one.
    config: Settings file.
    """
    from palestra.cli.ledger import print_root

    return print_root(_settings(config, {"data_dir": data_dir, "database_url": database_url}).settings)


def _settings(config: Path | None, flags: dict[str, Any]) -> LoadedSettings:
    file = config or Path(os.environ.get("PALESTRA_CONFIG", FILE_NAME))
    environ = {name: value for name, value in os.environ.items() if name != "PALESTRA_CONFIG"}
    return load_settings(flags, environ, file if config or file.is_file() else None)


def main() -> None:
    """Entry point: expected failures are told in a sentence, without a traceback."""
    try:
        sys.exit(app())
    except (SetupError, PalestraError) as error:
        print(f"palestra: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
