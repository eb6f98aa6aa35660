"""The way to PostgreSQL: dedicated connections for batches, a small pool for explicit transactions."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import asyncpg

from palestra.core.errors import DeadlineExceeded, OutcomeUnknown, Overloaded, SetupError, Unavailable
from palestra.database.primary import AWAY, Primary
from palestra.database.transaction import Connection, ending

if TYPE_CHECKING:
    from palestra.database.replicas import Replicas

STATEMENT_SECONDS_MAX = 30.0
"""How long one statement of the small pool may run, and how long its transaction may idle."""
WAIT_SECONDS_MAX = 5.0
"""How long a caller waits for a connection of the small pool."""
WAITING_MAX = 1_000
"""How many callers may wait for one."""
PROBE_SECONDS = 0.25
PLANNING = {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
"""How statements are planned on held connections; see `Database.connect`."""
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)

Isolation = Literal["read_committed", "repeatable_read", "serializable"]


class Database:
    """PostgreSQL at `url`, wherever it runs, or whichever of its hosts takes writes. No connection is made before it is
    needed.

    With a `direct_url`, `url` is that of a pooler that lends its connections for a transaction at a time: nothing that
    a session remembers is relied on, and what needs a session goes to `direct_url`. One that is not `writable` is a
    replica.

    Every method that talks to the server raises Unavailable while it is away and works again once it is back;
    SetupError when it refuses the user or knows no such database.
    """

    def __init__(
        self,
        url: str,
        *,
        direct_url: str = "",
        pool_connections_max: int = 8,
        connect_timeout_seconds: float = 5.0,
        writable: bool = True,
    ) -> None:
        self.url = url
        self.pooled = bool(direct_url)
        self.replicas: Replicas | None = None
        """Where reads may go that need not be of this moment; None without any."""
        self._connections_max = pool_connections_max
        # The driver's hints say whole seconds, it takes fractions.
        self._connect_timeout: Any = connect_timeout_seconds
        # A pooler tells what a server said long ago, so it is not asked which kind it is.
        self._primary = Primary(url, connect_timeout_seconds, writable=writable and not self.pooled)
        self._direct = Primary(direct_url, connect_timeout_seconds) if direct_url else self._primary
        self._made_at: weakref.WeakKeyDictionary[asyncpg.Connection, float] = weakref.WeakKeyDictionary()
        self._pool: asyncpg.Pool | None = None
        self._slots = asyncio.Semaphore(pool_connections_max)
        self._waiting = 0
        self._available = True
        self._probe: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether the server answered when last asked; while it does not, it is asked again four times a second."""
        return self._available

    async def open(self) -> None:
        """Prepare the small pool. Costs nothing. Raises SetupError when the URL cannot be understood."""
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise SetupError(f"the database URL {redacted(self.url)} must begin with postgresql://")
        limit = str(int(STATEMENT_SECONDS_MAX * 1000))
        limits = {"statement_timeout": limit, "idle_in_transaction_session_timeout": limit}

        async def connect(*_: Any, **options: Any) -> asyncpg.Connection:
            # The server gives up first; the limit here is for a server that does not answer at all.
            return await self._connected(limits, command_timeout=STATEMENT_SECONDS_MAX + 5, **options)

        self._pool = await asyncpg.create_pool(
            self.url,
            connect=connect,
            # Behind a pooler the next transaction is on another session anyway.
            reset=_nothing if self.pooled else None,
            min_size=0,
            max_size=self._connections_max,
            connection_class=Connection,
        )

    async def close(self) -> None:
        """Close the small pool, waiting a little for transactions in flight; dedicated connections stay open."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
            self._probe = None
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(WAIT_SECONDS_MAX):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def connect(self) -> asyncpg.Connection:
        """A new connection of the caller's own, without time limits; the caller closes it. Poolers lend it out as well.

        Its statements are prepared once and live long, so a plan made while a table was nearly empty would scan the
        table for ever: scans are off, which leaves them to statements that have no other way. One plan serves all
        arguments: left to choose, PostgreSQL plans a statement over arrays anew each time, which costs as much again.
        """
        return await self._own(self._connected(PLANNING))

    async def connect_directly(self) -> asyncpg.Connection:
        """Like `connect`, but past a pooler: for locks, listening, and statements that take long."""
        return await self._own(self._direct.connect(server_settings={"application_name": "palestra", **PLANNING}))

    async def _own(self, connecting: Coroutine[Any, Any, asyncpg.Connection]) -> asyncpg.Connection:
        try:
            connection = await connecting
        except (*AWAY, *_REFUSED, asyncpg.InterfaceError) as error:
            raise self._translated(error, None) from error
        if not self.pooled:
            # A pooler lets anybody in, whether or not there is a server.
            self._available = True
        self._made_at[connection] = asyncio.get_running_loop().time()
        return connection

    async def _connected(self, settings: Mapping[str, str], **options: Any) -> asyncpg.Connection:
        settings = {"application_name": "palestra", **settings}
        if self.pooled:
            # A pooler may know neither our settings nor which server has seen a prepared statement.
            settings = {"application_name": "palestra"}
            options["statement_cache_size"] = 0
        connection = await self._primary.connect(server_settings=settings, **options)
        self._made_at[connection] = asyncio.get_running_loop().time()
        return connection

    def drop_older(self, moment: float) -> None:
        """Cut all connections made before a moment of the loop's clock: what is in flight on them counts as lost."""
        for connection, made_at in list(self._made_at.items()):
            if made_at < moment and not connection.is_closed():
                connection.terminate()

    @asynccontextmanager
    async def transaction(self, isolation: Isolation = "read_committed") -> AsyncIterator[asyncpg.Connection]:
        """A connection inside a transaction: committed when the block ends, rolled back when it raises.

        Raises Overloaded when no connection of the small pool gets free in time, DeadlineExceeded when a statement
        runs too long, OutcomeUnknown when the connection is lost during the commit. Costs three round trips.
        """
        async with self._acquired() as connection:
            with ending(connection):
                transaction = connection.transaction(isolation=isolation)
                await transaction.start()
                try:
                    yield connection
                except BaseException:
                    if not _is_gone(connection):
                        await transaction.rollback()
                    raise
                if _is_gone(connection):
                    self.seems_away()
                    raise Unavailable("The database went away before the commit, try again.")
                try:
                    await transaction.commit()
                except BaseException as error:
                    if connection_lost(error, connection):
                        self.seems_away()
                        raise OutcomeUnknown("The database went away during the commit.") from error
                    raise

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of one statement."""
        async with self._acquired() as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """The first row of one statement, or None."""
        async with self._acquired() as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row of one statement, or None."""
        async with self._acquired() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run one statement (or, without arguments, a script); answers its command tag, such as `DELETE 3`."""
        async with self._acquired() as connection:
            return await connection.execute(sql, *args)

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the small pool, with errors of the way to the server translated."""
        pool = self._pool
        if pool is None:
            raise Unavailable("The database is not open.")
        await self._take_slot()
        connection: asyncpg.Connection | None = None
        try:
            # A slot is held, so the pool has a connection to give and only making a new one can take time.
            connection = cast(asyncpg.Connection, await pool.acquire(timeout=self._connect_timeout))
            yield connection
            self._available = True
        except BaseException as error:
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and connection is not None:
                # The server takes no writes any more, and those connections that wait in the pool are to the same.
                connection.terminate()
                await pool.expire_connections()
            translated = self._translated(error, connection)
            if translated is error:
                raise
            raise translated from error
        finally:
            if connection is not None:
                await self._released(pool, connection)
            self._slots.release()

    async def _take_slot(self) -> None:
        if self._slots.locked() and self._waiting >= WAITING_MAX:
            raise Overloaded("The database is busy, try again.")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._slots.acquire()
        except TimeoutError:
            raise Overloaded("The database is busy, try again.") from None
        finally:
            self._waiting -= 1

    async def _released(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        try:
            await pool.release(cast(Any, connection))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            # The work is done and answered; a connection that fails its reset is thrown away by the pool.
            self.seems_away()

    def _translated(self, error: BaseException, connection: asyncpg.Connection | None) -> BaseException:
        """What callers should see instead of `error`; `error` itself when it is not about the way to the server."""
        if connection is None and isinstance(error, _REFUSED):
            return SetupError(f"PostgreSQL at {redacted(self.url)} refused: {error}. Check the database URL.")
        if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error):
            return SetupError(
                f"at {redacted(self.url)} is a pooler ({error}).\n"
                "Tell the node so: give it database.direct_url, which leads past the pooler to PostgreSQL itself."
            )
        if isinstance(error, asyncpg.QueryCanceledError):
            return DeadlineExceeded("The database took too long.")
        if connection_lost(error, connection):
            self.seems_away()
            return Unavailable("The database is away, try again.", retry_after_seconds=1.0)
        return error

    def seems_away(self) -> None:
        """Remember that the server does not answer, and ask it until it does."""
        self._available = False
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._ask(), name="database-probe")

    async def _ask(self) -> None:
        while self._pool is not None and not self._available:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                connection = await self._primary.connect()
                try:
                    await connection.fetchval("SELECT 1", timeout=self._connect_timeout)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                continue
            self._available = True


def connection_lost(error: BaseException, connection: asyncpg.Connection | None) -> bool:
    """Whether `error`, met on `connection` or while making one (None), says that the way to the server is lost."""
    if connection is None:
        return isinstance(error, (*AWAY, asyncpg.InterfaceError))
    # With a connection in hand these may be the caller's own: a misuse, or a time-out of other work it does meanwhile.
    if isinstance(error, (asyncpg.InterfaceError, OSError, TimeoutError)):
        return _is_gone(connection)
    # The driver loses count when a server says goodbye at the very moment a statement is sent. One that has become a
    # standby is of no more use than one that is gone.
    return isinstance(error, (*AWAY, asyncpg.InternalClientError, asyncpg.ReadOnlySQLTransactionError))


def _is_gone(connection: asyncpg.Connection) -> bool:
    """Whether a connection that was not given back is lost; the pool takes a lost one away at once."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


async def check_pooler(database: Database) -> None:
    """Make sure that sessions behind a pooler plan as ours do, who cannot tell them. Raises SetupError, Unavailable."""
    if not database.pooled:
        return
    connection = await database.connect()
    try:
        wrong = {name: value for name, value in PLANNING.items() if await connection.fetchval(f"SHOW {name}") != value}
        user = await connection.fetchval("SELECT quote_ident(current_user)")
    finally:
        await connection.close()
    if wrong:
        statements = " ".join(f"ALTER ROLE {user} SET {name} = {value};" for name, value in wrong.items())
        raise SetupError(
            f"sessions of the pooler at {redacted(database.url)} would plan statements badly. Say to PostgreSQL:\n"
            f"{statements}\nThen say RECONNECT to the pooler's console."
        )


async def _nothing(connection: asyncpg.Connection) -> None:
    """What is done to a connection of the small pool before the next caller, where the pooler does the rest."""


def redacted(url: str) -> str:
    """`url` without its password, fit for messages."""
    scheme, separator, rest = url.partition("://")
    place = rest.rsplit("@", 1)
    if not separator or len(place) == 1 or ":" not in place[0]:
        return url
    return f"{scheme}://{place[0].split(':', 1)[0]}:***@{place[1]}"
