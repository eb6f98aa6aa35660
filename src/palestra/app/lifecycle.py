"""The life of a node: start, ready, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from pathlib import Path

from palestra.app import openapi
from palestra.app.build import Parts, build
from palestra.app.counters import measure_node, report
from palestra.app.draining import LATE_SECONDS, PARTIES_PART, move_parties, move_sessions
from palestra.cluster.bus import Transport
from palestra.cluster.cluster import build_cluster
from palestra.console.app import ConsoleApp
from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.database.embedded import EmbeddedPostgres
from palestra.database.migrate import migrate
from palestra.database.pool import Database, check_pooler
from palestra.database.replicas import Replicas
from palestra.database.watch import Watch
from palestra.features.accounts.key_ring import open_key_ring
from palestra.gateway.server import Listener
from palestra.gateway.shared_port import SharedPort
from palestra.sdk.game import Game
from palestra.sdk.loader import Changes, load_games

log = get_logger(__name__)
RELOAD_SECONDS = 0.25
HOUSEKEEPING_SECONDS = 300
GC_THRESHOLD = 20_000
LEAVE_SECONDS_MAX = 2.0
"""How long clients of a shared port that keep a connection open may take to send a request on it and be told."""
VENDOR = Path(__file__).resolve().parent.parent / "_web/vendor"
"""Browser libraries bundled with the package, served to the examples."""
CLIENT = Path(__file__).resolve().parent.parent / "client"
"""Our own file for pages that follow the state of a match."""

Progress = Callable[[str], None]


def opened(settings: Settings, url: str) -> Database:
    """The database at `url`, with the replicas of the settings."""
    limits = settings.database
    database = Database(url, direct_url=limits.direct_url, pool_connections_max=limits.pool_connections_max)
    if limits.replica_urls:
        database.replicas = Replicas(limits.replica_urls, limits.replica_lag_seconds_max)
    return database


def _silent(step: str) -> None:
    """Nobody wants to know."""


class Node:
    """One process of the platform, with its games.

    `games` may be given as modules to load, or ready-made (tests), as may the clock. One that does not serve players
    runs jobs and nothing else; its console is then optional too. `port` is one that several processes share,
    `transport` is for several nodes in one process. Nothing happens before `start`.
    """

    def __init__(
        self,
        settings: Settings,
        modules: list[Path],
        games: list[Game] | None = None,
        clock: Clock | None = None,
        *,
        serves: bool = True,
        console: bool = True,
        port: SharedPort | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.settings = settings
        self.lost = asyncio.Event()
        """Set when another node has this one's name by now: it is to be stopped."""
        self._transport = transport
        self._serves = serves
        self._has_console = console
        self._shared_port = port
        self.port = 0
        self.console_port = 0
        self.games: list[Game] = []
        self.key_ring_file = Path(settings.database.key_ring_file or Path(settings.data_dir) / "keyring.json")
        self._modules = modules
        self._given = games
        self._clock = clock
        self._serving = False
        self._stopped = False
        self._postgres: EmbeddedPostgres | None = None
        self._database: Database | None = None
        self.parts: Parts | None = None
        self._listener: Listener | None = None
        self._console: Listener | None = None

    @property
    def ready(self) -> bool:
        """Whether it can serve: started, not draining, and its database answers."""
        return self._serving and self._database is not None and self._database.available

    @property
    def pages(self) -> list[str]:
        """Paths at which the games serve a page to click on."""
        folders = [folder for game in self.games for folder in game.static_folders]
        return [f"/{f.path.strip('/')}/" for f in folders if (f.folder / "index.html").is_file()]

    async def start(self, progress: Progress = _silent) -> None:
        """Start everything, in order; when this returns, the node serves. Raises SetupError."""
        settings = self.settings
        started = time.perf_counter()
        progress("loading the game")
        changes = Changes(self._modules)
        self.games = self._load()
        progress("opening the data directory")
        url = settings.database_url or await self._start_postgres(progress)
        self._database = opened(settings, url)
        await self._database.open()
        await check_pooler(self._database)
        progress("updating the database's tables")
        await migrate(self._database, lambda name: progress(f"migrating: {name}"))
        sealer = await open_key_ring(self._database, self.key_ring_file)
        cluster = build_cluster(settings, transport=self._transport)
        parts = self.parts = build(settings, self._database, sealer, lambda: self.ready, self._clock, cluster)
        measure_node(parts)
        await self._join(parts, progress)
        progress("loading sessions and ranks")
        await parts.services.money.ledger.start()
        await parts.services.sessions.load()
        await parts.services.boards.known.start()
        parts.sockets.start()
        parts.runtime.bounds.start()
        parts.services.live.matchmaker.start()
        if self._clock is None:
            # Where a test holds the clock, matches tick at its word.
            parts.services.live.running.scheduler.start()
        progress("starting the game")
        await self._bind(self.games)
        parts.services.boards.announcer.start()
        await self._listen(parts)
        parts.tasks.spawn(self._housekeeping(), "housekeeping")
        if settings.database_url:
            self._watch_servers(parts, self._database)
        if self._postgres is not None:
            parts.tasks.spawn(self._postgres.keep_running(), "embedded PostgreSQL")
        if settings.reload and self._modules:
            parts.tasks.spawn(self._watch(changes), "live reload")
        # What exists now stays: the collector need not look at it again, and need not run every few hundred objects.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self._serving = True
        log.info("node ready", node=settings.node, port=self.port, seconds=round(time.perf_counter() - started, 3))
        if settings.jobs.worker or not self._serves:
            parts.worker.start()

    async def _join(self, parts: Parts, progress: Progress) -> None:
        """Take this node's name, and meet the others."""
        cluster, nodes = parts.cluster, parts.services.nodes
        if cluster.alone and not self._serves:
            # Work is taken from the database; nobody needs to know who does it.
            return
        nodes.on_lost = self.lost.set
        nodes.state = report(parts)
        nodes.serves = cluster.members.serves = self._serves
        cluster.bus.begin(await nodes.claim())
        if not cluster.alone:
            progress("joining the other nodes")
            await cluster.bus.start()
            cluster.members.start(nodes.claim)
            for begin in cluster.on_start:
                begin()
        # Only now: what it says of itself for operators is that it is on the bus.
        nodes.start()

    async def _leave(self, parts: Parts) -> None:
        """Tell the others that this node is going, and give up its name."""
        cluster = parts.cluster
        if cluster.bus.up:
            cluster.members.leave()
        await parts.services.caches.stop()
        await cluster.bus.stop()
        await cluster.tasks.stop()
        await parts.services.nodes.leave()

    async def _listen(self, parts: Parts) -> None:
        """Take the ports, all of them before the first answers."""
        settings = self.settings
        if self._serves:
            self._listener = Listener(parts.http, settings.socket, parts.sockets)
            shared, listener = self._shared_port, self._listener
            self.port = listener.share(shared) if shared else listener.bind(settings.host, settings.port)
        if self._has_console:
            self._console = Listener(ConsoleApp(parts.metrics, lambda: self.ready), settings.socket)
            self.console_port = self._console.bind(settings.host, settings.console_port, "--console-port")
        for listener in self._listeners():
            await listener.start()

    def _listeners(self) -> list[Listener]:
        return [listener for listener in (self._console, self._listener) if listener is not None]

    def _load(self) -> list[Game]:
        if self._given is not None:
            return self._given
        return load_games(self._modules)

    async def _start_postgres(self, progress: Progress) -> str:
        data_dir = Path(self.settings.data_dir)
        progress("starting PostgreSQL" if (data_dir / "pg").exists() else "making a PostgreSQL database (first start)")
        self._postgres = EmbeddedPostgres(data_dir)
        return await self._postgres.start()

    async def _bind(self, games: list[Game]) -> None:
        parts = self.parts
        assert parts is not None
        parts.runtime.bind(games, parts.platform)
        parts.jobs.declare("games", parts.runtime.jobs(games))
        parts.worker.refresh()
        await parts.services.indexes.start(parts.runtime.indexes(games))
        parts.services.live.matchmaker.games_changed()
        runtime, events = parts.runtime, parts.services.client_events
        events.handlers = [runtime.handle_event] if runtime.wants_events else []
        events.session_handlers = [runtime.handle_session] if runtime.wants_sessions else []
        if VENDOR.is_dir():
            parts.static.mount("/vendor", VENDOR)
        parts.static.mount("/palestra", CLIENT)
        parts.static.mount(openapi.PAGE_PATH, openapi.PAGE)
        for game in games:
            for folder in game.static_folders:
                parts.static.mount(folder.path, folder.folder)
        await parts.runtime.start()

    # -- background

    def _watch_servers(self, parts: Parts, database: Database) -> None:
        """Notice when the database moves to another machine, and how far its replicas are."""
        replicas = database.replicas
        watches = [Watch(database)] if replicas is None else [Watch(database, replicas.ends_at), *replicas.watches()]
        for watch in watches:
            parts.tasks.spawn(watch.run(), "database watch")

    async def _watch(self, changes: Changes) -> None:
        """Live reload: load changed game code, and keep the old when the new is wrong. Sockets do not notice."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            if not changes.happened():
                continue
            started = time.perf_counter()
            try:
                await self._reload(self._load())
                log.info("game reloaded", seconds=round(time.perf_counter() - started, 3))
            except Exception as error:
                # Whatever it is, the next change of the file is to be tried again.
                log.error("game not reloaded, the old one stays", reason=str(error) or repr(error))

    async def _reload(self, games: list[Game]) -> None:
        previous = self.games
        try:
            await self._bind(games)
            self.games = games
        except Exception:
            await self._bind(previous)
            raise

    async def _housekeeping(self) -> None:
        assert self.parts is not None
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            try:
                await self.parts.services.sessions.forget_expired()
            except PalestraError as error:
                log.warning("revocations are not tidied up this time", reason=error.message)

    # -- the end

    async def stop(self, *, others_listen: bool = False) -> None:
        """Drain and stop: unready first, then requests in flight, sockets, batches, and the embedded database last.

        With `others_listen` the port is shared with processes that go on.
        """
        if self._stopped:
            return
        self._stopped = True
        served, self._serving = self._serving, False
        if served:
            seconds = {"notice_seconds": self.settings.notice_seconds, "drain_seconds": self.settings.drain_seconds}
            log.info("node is stopping", node=self.settings.node, **seconds)
        try:
            if self.parts is not None:
                self._say_going(self.parts)
            if served and self._listener is not None:
                await self._take_leave(self._listener, others_listen)
            await self._stop_serving()
        finally:
            if self._database is not None:
                await self._database.close()
            if self._postgres is not None:
                await self._postgres.stop()
            gc.unfreeze()
        if served:
            log.info("node stopped", node=self.settings.node)

    def _say_going(self, parts: Parts) -> None:
        """Let the other nodes know that nothing is to come here any more."""
        members = parts.cluster.members
        members.draining = True
        if parts.cluster.bus.up:
            members.say()

    async def _take_leave(self, listener: Listener, others_listen: bool) -> None:
        """Let those who come go elsewhere, without one of their requests failing."""
        listener.say_close()
        if others_listen:
            listener.leave()
            until = time.monotonic() + LEAVE_SECONDS_MAX
            while listener.requesting and time.monotonic() < until:  # noqa: ASYNC110 - a counter of the hot path
                await asyncio.sleep(0.02)
            return
        await asyncio.sleep(self.settings.notice_seconds)
        await listener.refuse()

    async def _stop_serving(self) -> None:
        parts = self.parts
        if parts is not None:
            await asyncio.gather(self._drain(parts), parts.worker.stop(self.settings.drain_seconds))
        await asyncio.gather(*[listener.stop() for listener in self._listeners()])
        if parts is not None:
            await parts.tasks.stop()
            for store in parts.services.stores:
                await store.stop()
            parts.services.passwords.stop()
            await parts.services.identity.outgoing.stop()
            await parts.services.purchasing.outgoing.stop()
            parts.runtime.bounds.stop()
            await self._leave(parts)

    async def _drain(self, parts: Parts) -> None:
        """Hand over what lives on, let matches end and calls in flight finish, within the time for draining.

        Then say goodbye to sockets.
        """
        until = time.monotonic() + self.settings.drain_seconds
        parts.services.live.matchmaker.stop()
        drain_seconds = self.settings.drain_seconds
        parties = move_parties(parts, drain_seconds * PARTIES_PART)
        await asyncio.gather(parties, parts.services.live.running.drain(drain_seconds))
        await move_sessions(parts, until - time.monotonic())
        while parts.dispatcher.in_flight and time.monotonic() < until:  # noqa: ASYNC110 - a counter of the hot path
            await asyncio.sleep(0.02)
        await move_parties(parts, LATE_SECONDS)
        await parts.sockets.stop()
