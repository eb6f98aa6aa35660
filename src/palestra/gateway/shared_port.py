"""One port for several processes, of which each gets about as many connections.

All of them wait on one listening socket. The one that is woken first takes a connection only if no other has clearly
fewer; else it leaves it to that one for a moment. So sockets spread evenly, also after one process was started anew,
and what a process has not taken yet is not lost with it.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import tempfile
import time
from collections.abc import Callable
from typing import IO

from palestra.core.log import get_logger

BACKLOG = 2_048
GONE = 2**62
"""In place of a number of connections: this process takes none."""
SLOT_BYTES = 16
"""A number of connections, and when it was told."""
PATIENCE_SECONDS = 0.002
"""How long a connection waits for a process that has fewer but may be busy."""
COUNT_SECONDS = 0.05
"""How often a process tells its number, beside each connection that it takes."""
STALE_SECONDS = 0.5
"""Nobody waits for a process that has told nothing for so long: it hangs, or was killed."""
TROUBLE_SECONDS = 0.5
"""How long none is taken when the system refuses to give one: there are no file descriptors left."""

log = get_logger(__name__)


class Tally:
    """How many connections each process has, in memory that all of them see: a file of so many `slots`."""

    def __init__(self, file: int, slots: int) -> None:
        self._told = memoryview(mmap.mmap(file, slots * SLOT_BYTES)).cast("q")

    def put(self, slot: int, count: int) -> None:
        """Tell the number of one process, or that it is GONE."""
        self._told[2 * slot] = count
        self._told[2 * slot + 1] = time.monotonic_ns()

    def lowest(self) -> int:
        """The smallest number that any of them has told lately; GONE where none has."""
        since = time.monotonic_ns() - int(STALE_SECONDS * 1e9)
        told = self._told
        return min((told[i] for i in range(0, len(told), 2) if told[i + 1] > since), default=GONE)


class SharedPort:
    """The listening socket, and this process's place among those that share it."""

    def __init__(self, listening: socket.socket, tally: Tally, slot: int) -> None:
        listening.setblocking(False)
        self.listening = listening
        self._tally = tally
        self._slot = slot
        self._arriving = 0
        self._open = False
        self._counting: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        """The port's number."""
        return self.listening.getsockname()[1]

    def open(self, protocol: Callable[[], asyncio.Protocol], connections: Callable[[], int]) -> None:
        """Begin to take connections, each for a new `protocol`; `connections` tells how many there are."""
        self._protocol, self._connections = protocol, connections
        self._loop = asyncio.get_running_loop()
        self.listening.listen(BACKLOG)
        self._open = True
        self._counting = self._loop.create_task(self._keep_counting(), name="shared port")
        self._loop.add_reader(self.listening.fileno(), self._woken)

    def leave(self) -> None:
        """Take no more; the others go on."""
        if self._open:
            self._open = False
            self._tally.put(self._slot, GONE)
            self._loop.remove_reader(self.listening.fileno())
            if self._counting is not None:
                self._counting.cancel()

    def close(self) -> None:
        """Close the port; when the others do so as well, connections are refused."""
        if self._open:
            # What the system has taken would be reset.
            while self._take():
                pass
            self.leave()
        self.listening.close()

    def _count(self) -> int:
        count = self._connections() + self._arriving
        self._tally.put(self._slot, count)
        return count

    async def _keep_counting(self) -> None:
        while True:
            self._count()
            await asyncio.sleep(COUNT_SECONDS)

    def _woken(self) -> None:
        lowest = self._tally.lowest()
        if self._count() > lowest + lowest // 8:
            self._wait(PATIENCE_SECONDS)
        else:
            self._take()

    def _wait(self, seconds: float) -> None:
        """Look away, lest we are woken all the time, and then take one that nobody has taken."""
        self._loop.remove_reader(self.listening.fileno())
        self._loop.call_later(seconds, self._waited)

    def _waited(self) -> None:
        if not self._open:
            return
        self._loop.add_reader(self.listening.fileno(), self._woken)
        self._take()

    def _take(self) -> bool:
        try:
            connection, _ = self.listening.accept()
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            log.error("a connection cannot be taken", reason=str(error))
            self._wait(TROUBLE_SECONDS)
            return False
        self._arriving += 1
        self._count()
        arriving = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        arriving.add_done_callback(self._arrived)
        return True

    def _arrived(self, arriving: asyncio.Task[object]) -> None:
        self._arriving -= 1
        if not arriving.cancelled() and (error := arriving.exception()) is not None:
            log.warning("a connection was lost as it came", reason=str(error))


def tally_file(slots: int) -> IO[bytes]:
    """A file for a tally of so many processes, of which none takes connections yet."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked keeps it open
    file.write(bytes(SLOT_BYTES * slots))
    file.flush()
    return file
