"""The one path every call takes: limit, before-hook, handler, after-hook, counters; for HTTP and sockets alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Protocol

from palestra.core.errors import Code, NotFound, Overloaded, PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics, Sample
from palestra.gateway.operation import Call, Message, Operation, Stats

log = get_logger(__name__)


class Disabled(NotFound):
    """A before-hook returned nothing: the operation is switched off."""


class HookFailed(PalestraError):
    """A before-hook refused the call; carries the hook's own code and text."""


class Follower(Protocol):
    """Wants to know of calls, on their way through the dispatcher."""

    def began(self, operation: Operation | Message, call: Call) -> None:
        """A call begins."""
        ...

    def handled(self, operation: Operation | Message, call: Call) -> None:
        """A call is about to be answered, or is over; some are told twice."""
        ...


class Dispatcher:
    """Runs operations and messages.

    `in_flight_max` bounds the calls being worked on; beyond it a call is refused at once with RESOURCE_EXHAUSTED.
    """

    def __init__(self, in_flight_max: int) -> None:
        self.in_flight = 0
        self.follower: Follower | None = None
        self._in_flight_max = in_flight_max

    async def run(
        self,
        operation: Operation | Message,
        call: Call,
        request: Any,
        answered: Callable[[Any], None] | None = None,
    ) -> Any:
        """Carry out one call. Raises PalestraError for expected failures; anything else is a bug.

        `answered` is called with the response before after-hooks run.
        """
        if self.in_flight >= self._in_flight_max:
            operation.stats.by_code[Code.RESOURCE_EXHAUSTED] += 1
            raise Overloaded("The server is busy, try again.")
        self.in_flight += 1
        started = perf_counter()
        code: int = Code.INTERNAL
        if self.follower is not None:
            self.follower.began(operation, call)
        try:
            if operation.before is not None:
                request = await self._before(operation, call, request)
            response = await operation.handler(call, request)
            if answered is not None:
                if self.follower is not None:
                    self.follower.handled(operation, call)
                answered(response)
            if operation.after is not None:
                await operation.after(call, response, request)
            code = 0
            return response
        except PalestraError as error:
            code = error.code
            raise
        finally:
            self.in_flight -= 1
            if self.follower is not None:
                self.follower.handled(operation, call)
            stats = operation.stats
            stats.by_code[code] += 1
            stats.seconds += perf_counter() - started

    async def _before(self, operation: Operation | Message, call: Call, request: Any) -> Any:
        assert operation.before is not None
        try:
            replaced = await operation.before(call, request)
        except Unavailable:
            # Not the hook's word, but that of what it needed; it tells when to come again.
            raise
        except PalestraError as error:
            raise HookFailed(error.message, code=error.code) from error
        if replaced is None:
            raise Disabled("Requested resource was not found.")
        return replaced


def measure(metrics: Metrics, table: Iterable[Operation | Message], dispatcher: Dispatcher) -> None:
    """Show the counters of all operations under `palestra_operations_total` and `palestra_operation_seconds_total`."""
    by_name: dict[str, list[Stats]] = {}
    for operation in table:
        by_name.setdefault(operation.name, []).append(operation.stats)

    def calls() -> Iterable[Sample]:
        for name, several in by_name.items():
            for code in Code:
                if count := sum(stats.by_code[code] for stats in several):
                    yield (name, code.name.lower()), count

    def seconds() -> Iterable[Sample]:
        for name, several in by_name.items():
            yield (name,), sum(stats.seconds for stats in several)

    metrics.counter("palestra_operations", "Calls by operation and outcome", ("operation", "code"), calls)
    metrics.counter("palestra_operation_seconds", "Time spent in calls", ("operation",), seconds)
    metrics.gauge("palestra_calls_in_flight", "Calls being worked on", (), lambda: [((), dispatcher.in_flight)])
