"""Durable jobs as others see them: declaring one, enqueueing one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from palestra.core.cron import Schedule
from palestra.core.errors import InvalidArgument, SetupError

if TYPE_CHECKING:
    import asyncpg

NAME_CHARS_MAX = 128
PAYLOAD_BYTES_MAX = 65_536
DEDUPE_KEY_CHARS_MAX = 256
RUN_AFTER_SECONDS_MAX = 366 * 86_400.0


@dataclass(slots=True, frozen=True)
class Job:
    """A kind of job: `Job("mail.send", service.send, Mail)`.

    `handler` is called with a `payload` read from JSON, without arguments where `payload` is None. It may be called
    again for work that it did already, when a process is killed or a connection lost at the wrong moment: make it
    idempotent. What it raises, and running longer than `seconds_max`, counts as a failed try; there are at most
    `attempts_max`. In between it waits `back_off_seconds` and twice as long each time, up to `back_off_seconds_max`,
    less up to a half by chance.

    `cron` fires it by the clock as well, in UTC, once for all workers together and not again while it waits or runs.
    It is an expression of `palestra.core.cron`: seven fields put the second first, so that `*/5 * * * * * *` is every
    five seconds. A moment that passes while no worker runs is made up for once.

    Raises SetupError when a part of it is of no use.
    """

    name: str
    handler: Callable[..., Coroutine[Any, Any, Any]]
    payload: Any = None
    cron: str = ""
    attempts_max: int = 5
    back_off_seconds: float = 2.0
    back_off_seconds_max: float = 3_600.0
    seconds_max: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= NAME_CHARS_MAX:
            raise SetupError(f"job {self.name!r}: a name has 1 to {NAME_CHARS_MAX} characters")
        if self.attempts_max < 1 or min(self.back_off_seconds, self.back_off_seconds_max, self.seconds_max) <= 0:
            raise SetupError(f"job {self.name!r}: attempts and times must be above zero")
        if self.cron and self.payload is not None:
            raise SetupError(f"job {self.name!r}: a job that cron fires takes no payload")
        try:
            if self.cron:
                Schedule.parse(self.cron)
            if self.payload is not None:
                msgspec.json.Decoder(self.payload)
        except (ValueError, TypeError) as error:
            raise SetupError(f"job {self.name!r}: {error}") from None


class JobTooLarge(InvalidArgument):
    """The payload does not fit into a job."""


class Jobs(Protocol):
    """The queue, for those who put something into it."""

    async def enqueue(
        self,
        tx: asyncpg.Connection | None,
        name: str,
        payload: Any = None,
        *,
        run_after_seconds: float = 0.0,
        dedupe_key: str = "",
    ) -> bool:
        """Put a job into the queue: it exists if, and only if, the transaction `tx` commits. None is one of its own.

        False, and nothing is done, while a job of that name with the same `dedupe_key` waits or runs. One round trip;
        commits of transactions that enqueue go one after the other, as PostgreSQL orders its notifications.

        Raises:
            JobTooLarge: the payload has more than PAYLOAD_BYTES_MAX bytes as JSON.
            ValueError: there is no such job, its payload is of another type, or an option is out of range: a mistake
                in the code that calls.
            Unavailable: (without `tx`) the database is away.
        """
        ...
