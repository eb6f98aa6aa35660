"""A TCP proxy that behaves badly on demand: delays, cuts, or swallows what passes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

END_SECONDS_MAX = 10


class FaultProxy:
    """Stands between a client and a server on loopback; with `tls`, clients have to speak that to it."""

    def __init__(self, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target_port = target_port
        self._tls = tls
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.delay_seconds = 0.0
        self.refuses = False
        self.refusals = 0
        self.port = 0

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self._open.set()
        self.cut()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=END_SECONDS_MAX)
            assert not left, "a client or a server does not end its connection"

    def cut(self, *, refuse: bool = False) -> None:
        """End all connections; with `refuse`, those that come later too, until `heal`."""
        self.refuses = refuse
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Half-open: connections stay, and nothing passes any more."""
        self._open.clear()

    def heal(self) -> None:
        """Behave."""
        self.refuses = False
        self.delay_seconds = 0.0
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.refuses:
                self.refusals += 1
                return
            await self._open.wait()
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(downstream)
            try:
                await asyncio.gather(self._pump(reader, downstream), self._pump(upstream, writer))
            finally:
                self._writers.discard(downstream)
                downstream.close()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()
