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
from palestra.gateway.shared_port import SharedPort
from palestra.gateway.websocket.gateway import SocketGateway


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: the node decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bound_port(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Take a port (0: any free one). Raises SetupError, naming `flag`, when it is taken."""
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
    return listener


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
        self._shared: SharedPort | None = None
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
        self._socket = bound_port(host, port, flag)
        self._socket.setblocking(False)
        return self._socket.getsockname()[1]

    def share(self, port: SharedPort) -> int:
        """Serve at a port that others serve as well; its number."""
        self._shared = port
        return port.number

    async def start(self) -> None:
        """Begin to accept connections."""
        assert self._socket is not None or self._shared is not None, "bind first"
        loop = asyncio.get_running_loop()
        sockets = [self._socket] if self._socket is not None else []
        self._running = [
            loop.create_task(self._server.serve(sockets=sockets), name="listener"),
            loop.create_task(self._sweep(), name="slow requests"),
        ]
        while not self._server.started:
            if self._running[0].done():
                self._running[0].result()
                raise SetupError("the listener ended before it started")
            await asyncio.sleep(0.005)
        if self._shared is not None:
            self._shared.open(self._protocol, lambda: self._reading.connections)

    def _protocol(self) -> asyncio.Protocol:
        config: Any = self._server.config
        return config.http_protocol_class(config=config, server_state=self._server.server_state, app_state={})

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
        if self._shared is not None:
            self._shared.close()
        # What the system has taken for us by now is ours: closing the port would reset it.
        for _ in range(2):
            await asyncio.sleep(0)
        for server in self._server.servers:
            server.close()

    def leave(self) -> None:
        """Leave new connections to those that share the port."""
        assert self._shared is not None
        self._shared.leave()

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
