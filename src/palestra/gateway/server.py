"""The listener: uvicorn with our protocols, started and stopped by the node rather than by signals of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from palestra.core.config import SocketSettings
from palestra.core.errors import SetupError
from palestra.gateway.http.exchange import Exchange
from palestra.gateway.http.protocol import LimitedProtocol, Reading
from palestra.gateway.websocket.gateway import SocketGateway


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: the node decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves one application, and sockets where a gateway for them is given, on one port."""

    def __init__(
        self,
        app: Callable[[Exchange], Coroutine[Any, Any, None]],
        settings: SocketSettings,
        sockets: SocketGateway | None = None,
    ) -> None:
        self._reading = Reading(settings, sockets)
        self._socket: socket.socket | None = None
        # The operators' port is asked by themselves, not through balancers.
        proxied = settings.proxy_protocol and sockets is not None
        bound = type(
            "BoundProtocol", (LimitedProtocol,), {"reading": self._reading, "sockets": sockets, "proxied": proxied}
        )
        self._server = _Server(
            uvicorn.Config(
                app,  # pyright: ignore[reportArgumentType] - our protocol calls it with exchanges
                http=bound,
                ws="none",
                loop="uvloop",
                lifespan="off",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                # The node has waited for its calls already, as long as `drain_seconds` allows.
                timeout_graceful_shutdown=1,
                backlog=2048,
            )
        )
        self._running: list[asyncio.Task[None]] = []

    def bind(self, host: str, port: int, flag: str = "--port") -> int:
        """Take the port (0: any free one) and return its number. Raises SetupError, naming `flag`, when it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise SetupError(
                f"cannot listen on {host}:{port}: {error.strerror}. Stop what uses it, or choose another with {flag}."
            ) from None
        listener.setblocking(False)
        self._socket = listener
        return listener.getsockname()[1]

    def adopt(self, listening: socket.socket) -> int:
        """Take a port that another process has bound for several; its number."""
        listening.setblocking(False)
        self._socket = listening
        return listening.getsockname()[1]

    async def start(self) -> None:
        """Begin to accept connections."""
        assert self._socket is not None, "bind first"
        loop = asyncio.get_running_loop()
        self._running = [
            loop.create_task(self._server.serve(sockets=[self._socket]), name="listener"),
            loop.create_task(self._sweep(), name="slow requests"),
        ]
        while not self._server.started:
            if self._running[0].done():
                self._running[0].result()
                raise SetupError("the listener ended before it started")
            await asyncio.sleep(0.005)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            self._reading.sweep(loop.time())

    @property
    def connections(self) -> int:
        """Open connections, sockets included."""
        return self._reading.connections

    def say_close(self) -> None:
        """From now on, each answer is the last on its connection, so that clients take their next request elsewhere."""
        self._reading.ending = True

    async def refuse(self) -> None:
        """Accept no more connections; those that exist go on."""
        # What the system has taken for us by now is ours: closing the port would reset it.
        for _ in range(2):
            await asyncio.sleep(0)
        for server in self._server.servers:
            server.close()

    @property
    def requesting(self) -> int:
        """Open connections, sockets not included."""
        return self._reading.requesting

    async def stop(self) -> None:
        """Stop accepting, let requests being answered finish, close what is idle."""
        if not self._running:
            if self._socket is not None:
                self._socket.close()
            return
        self._server.should_exit = True
        serving, sweeping = self._running
        sweeping.cancel()
        await asyncio.gather(serving, sweeping, return_exceptions=True)
        self._running = []
