"""How a batch gathers, orders, limits and ends, shown with connections that do not reach a database."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

import asyncpg
import pytest

from palestra.core.errors import InvalidArgument, OutcomeUnknown, Overloaded, Unavailable
from palestra.database.batch import Batch


class Line:
    """A connection that can be cut."""

    def __init__(self) -> None:
        self.closed = False
        self.in_transaction = False

    def is_closed(self) -> bool:
        return self.closed

    def is_in_transaction(self) -> bool:
        return self.in_transaction

    async def close(self, timeout: float | None = None) -> None:
        self.closed = True


class Lines:
    """A database that hands out lines, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.available = False
        """Whether it is known to be there, which a batch asks only after it could not be reached."""
        self.attempts = 0
        self.opened: list[Line] = []

    async def connect(self) -> Line:
        self.attempts += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("no database here")
        self.opened.append(Line())
        return self.opened[-1]

    @property
    def open_lines(self) -> int:
        return sum(not line.closed for line in self.opened)


class Rounds:
    """An `execute` that records what it was given and answers each item with itself, once the gate is open."""

    def __init__(self) -> None:
        self.seen: list[list[Any]] = []
        self.started = asyncio.Condition()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []

    async def __call__(self, connection: Any, items: list[Any]) -> list[Any]:
        self.seen.append(list(items))
        async with self.started:
            self.started.notify_all()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return list(items)

    async def begun(self, rounds: int) -> None:
        async with self.started:
            await self.started.wait_for(lambda: len(self.seen) >= rounds)


def make(execute: Any, lines: Lines | None = None, **settings: Any) -> Batch[Any, Any]:
    return Batch("test", lines or Lines(), execute, **settings)  # type: ignore[arg-type]


def first(item: tuple[Hashable, Any]) -> Hashable:
    return item[0]


async def test_callers_of_one_tick_share_a_round() -> None:
    rounds = Rounds()
    batch = make(rounds)
    assert await asyncio.gather(*(batch.submit(n) for n in range(5))) == [0, 1, 2, 3, 4]
    assert rounds.seen == [[0, 1, 2, 3, 4]]


async def test_what_arrives_during_a_round_forms_the_next_one() -> None:
    rounds = Rounds()
    batch = make(rounds)
    rounds.gate.clear()
    alone = batch.submit("a")
    await rounds.begun(1)
    crowd = [batch.submit(letter) for letter in "bcd"]
    assert batch.depth == 3
    rounds.gate.set()
    assert await asyncio.gather(alone, *crowd) == ["a", "b", "c", "d"]
    assert rounds.seen == [["a"], ["b", "c", "d"]]
    assert (batch.items, batch.rounds, batch.rows_last, batch.depth) == (4, 2, 3, 0)


async def test_a_round_takes_no_more_than_rows_max() -> None:
    rounds = Rounds()
    batch = make(rounds, rows_max=2)
    await asyncio.gather(*(batch.submit(n) for n in range(5)))
    assert rounds.seen == [[0, 1], [2, 3], [4]]


async def test_a_round_takes_no_more_than_bytes_max_and_a_larger_item_travels_alone() -> None:
    rounds = Rounds()
    batch = make(rounds, size_bytes=len, bytes_max=10)
    await asyncio.gather(*(batch.submit("x" * size) for size in (4, 6, 1, 99, 3)))
    assert [[len(item) for item in items] for items in rounds.seen] == [[4, 6], [1], [99], [3]]


async def test_lanes_overlap_their_rounds() -> None:
    rounds, lines = Rounds(), Lines()
    batch = make(rounds, lines, lanes=2, rows_max=2)
    rounds.gate.clear()
    results = [batch.submit(n) for n in range(6)]
    await rounds.begun(2)
    assert rounds.seen == [[0, 1], [2, 3]]
    assert lines.open_lines == 2
    rounds.gate.set()
    assert await asyncio.gather(*results) == [0, 1, 2, 3, 4, 5]


async def test_a_further_lane_starts_for_many_or_when_a_round_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds()
    batch = make(rounds, lanes=3, further_lane_rows_min=3)
    rounds.gate.clear()
    results = [batch.submit(0)]
    await rounds.begun(1)
    results += [batch.submit(1), batch.submit(2)]
    await asyncio.sleep(0)
    assert rounds.seen == [[0]]
    results += [batch.submit(3)]
    await rounds.begun(2)
    assert rounds.seen == [[0], [1, 2, 3]]
    # Nobody else comes, and yet the last one is not left waiting behind rounds that do not end.
    monkeypatch.setattr("palestra.database.batch.LATE_SECONDS", 0.0)
    results += [batch.submit(4)]
    await rounds.begun(3)
    assert rounds.seen[2] == [4]
    rounds.gate.set()
    assert await asyncio.gather(*results) == [0, 1, 2, 3, 4]
    await batch.stop()


async def test_a_crowd_is_taken_in_two_halves_that_take_turns() -> None:
    rounds = Rounds()
    batch = make(rounds, halve_from=4)
    assert await asyncio.gather(*(batch.submit(n) for n in range(7))) == list(range(7))
    assert rounds.seen == [[0, 1, 2, 3], [4, 5, 6]]
    assert await asyncio.gather(*(batch.submit(n) for n in range(3))) == [0, 1, 2]
    assert rounds.seen[2:] == [[0, 1, 2]]
    await batch.stop()


async def test_items_of_one_key_run_one_after_the_other_in_order() -> None:
    rounds = Rounds()
    batch = make(rounds, key=first)
    await asyncio.gather(*(batch.submit(item) for item in [("k", 1), ("k", 2), ("other", 1), ("k", 3)]))
    assert rounds.seen == [[("k", 1), ("other", 1)], [("k", 2)], [("k", 3)]]


async def test_a_key_in_flight_on_one_lane_waits_on_the_others() -> None:
    rounds = Rounds()
    batch = make(rounds, key=first, lanes=2)
    rounds.gate.clear()
    results = [batch.submit(("k", 1))]
    await rounds.begun(1)
    results += [batch.submit(("k", 2)), batch.submit(("other", 1))]
    await rounds.begun(2)
    assert rounds.seen == [[("k", 1)], [("other", 1)]]
    rounds.gate.set()
    await asyncio.gather(*results)
    assert rounds.seen[2:] == [[("k", 2)]]


async def test_a_hot_key_does_not_hold_up_other_keys() -> None:
    rounds = Rounds()
    batch = make(rounds, key=first, rows_max=2)
    items = [("hot", n) for n in range(50)] + [("a", 0), ("b", 0), ("c", 0)]
    await asyncio.gather(*(batch.submit(item) for item in items))
    assert {key for items in rounds.seen[:4] for key, _ in items} == {"hot", "a", "b", "c"}


async def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    rounds = Rounds()
    batch = make(rounds, queue_max=3, key=first)
    rounds.gate.clear()
    in_flight = batch.submit(("k", 0))
    await rounds.begun(1)
    waiting = [batch.submit((key, 0)) for key in ("k", "k", "other")]
    with pytest.raises(Overloaded, match="3 requests are waiting already; try again"):
        batch.submit(("one", "too many"))
    assert (batch.sheds, batch.depth) == (1, 3)
    rounds.gate.set()
    await asyncio.gather(in_flight, *waiting)
    assert await batch.submit(("one", "more")) == ("one", "more")


async def test_an_item_whose_caller_left_before_the_round_is_not_sent() -> None:
    rounds = Rounds()
    batch = make(rounds, key=first)
    items = [batch.submit(item) for item in [("k", 1), ("k", 2), ("k", 3), ("other", 1)]]
    items[0].cancel()
    items[1].cancel()
    assert await asyncio.gather(*items[2:]) == [("k", 3), ("other", 1)]
    assert sorted(item for items in rounds.seen for item in items) == [("k", 3), ("other", 1)]
    assert batch.depth == 0


async def test_a_caller_that_leaves_in_flight_disturbs_nobody() -> None:
    rounds = Rounds()
    batch = make(rounds, key=first)
    rounds.gate.clear()
    leaver, stayer, follower = batch.submit(("k", 1)), batch.submit(("other", 1)), batch.submit(("k", 2))
    await rounds.begun(1)
    leaver.cancel()
    rounds.gate.set()
    assert await asyncio.gather(stayer, follower) == [("other", 1), ("k", 2)]
    await batch.stop()


async def test_an_item_may_fail_alone() -> None:
    async def odd_only(connection: Any, items: list[int]) -> list[int | Exception]:
        return [n if n % 2 else InvalidArgument(f"{n} is even") for n in items]

    batch = make(odd_only)
    results = await asyncio.gather(*(batch.submit(n) for n in range(4)), return_exceptions=True)
    assert [str(result) for result in results] == ["0 is even", "1", "2 is even", "3"]


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError("test"), asyncpg.SerializationError("test")])
async def test_a_batch_that_lost_a_race_is_sent_again_whole(error: Exception) -> None:
    rounds = Rounds()
    rounds.failures = [error, error]
    batch = make(rounds)
    assert await asyncio.gather(batch.submit("a"), batch.submit("b")) == ["a", "b"]
    assert rounds.seen == [["a", "b"]] * 3
    assert (batch.retries, batch.splits) == (2, 0)


async def test_a_batch_that_loses_every_race_is_run_item_by_item() -> None:
    rounds = Rounds()
    rounds.failures = [asyncpg.DeadlockDetectedError("test") for _ in range(6)]
    batch = make(rounds)
    results = await asyncio.gather(batch.submit("a"), batch.submit("b"), return_exceptions=True)
    assert isinstance(results[0], asyncpg.DeadlockDetectedError)
    assert results[1] == "b"
    assert rounds.seen == [["a", "b"]] * 3 + [["a"]] * 3 + [["b"]]


async def test_a_bug_in_execute_is_not_run_again_unless_idempotent() -> None:
    rounds = Rounds()
    rounds.failures = [KeyError("column")]
    batch = make(rounds)
    results = await asyncio.gather(batch.submit("a"), batch.submit("b"), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError, KeyError]
    assert rounds.seen == [["a", "b"]]

    rounds.failures = [KeyError("column")]
    batch = make(rounds, idempotent=True)
    assert await asyncio.gather(batch.submit("c"), batch.submit("d")) == ["c", "d"]


async def test_a_wrong_number_of_results_reaches_nobody_as_success() -> None:
    async def forgetful(connection: Any, items: list[int]) -> list[int]:
        return items[1:]

    batch = make(forgetful)
    results = await asyncio.gather(batch.submit(1), batch.submit(2), return_exceptions=True)
    assert all(isinstance(result, RuntimeError) for result in results)
    assert "returned 1 results for 2 items" in str(results[0])


async def test_a_line_cut_in_flight_is_an_unknown_outcome_or_a_second_try() -> None:
    rounds, lines = Rounds(), Lines()
    rounds.failures = [ConnectionResetError("cut")]
    batch = make(rounds, lines)
    with pytest.raises(OutcomeUnknown, match="may or may not have been done"):
        await batch.submit("a")
    assert await batch.submit("b") == "b"
    assert (len(lines.opened), lines.open_lines) == (2, 1)

    rounds.failures = [ConnectionResetError("cut")]
    batch = make(rounds, lines, idempotent=True)
    assert await batch.submit("c") == "c"
    assert rounds.seen[-2:] == [["c"], ["c"]]


async def test_a_driver_that_lost_count_as_the_server_went_is_a_cut_line() -> None:
    rounds, lines = Rounds(), Lines()
    rounds.failures = [asyncpg.InternalClientError("another operation is in progress")]
    batch = make(rounds, lines)
    with pytest.raises(OutcomeUnknown):
        await batch.submit("a")
    assert await batch.submit("b") == "b"
    assert (len(lines.opened), lines.open_lines) == (2, 1)


async def test_a_statement_cancelled_under_the_lane_is_an_unknown_outcome() -> None:
    async def cut(connection: Any, items: list[Any]) -> list[Any]:
        raise asyncio.CancelledError

    with pytest.raises(OutcomeUnknown):
        await make(cut).submit("a")


async def test_idempotent_work_whose_line_never_holds_ends_as_unknown() -> None:
    rounds = Rounds()
    rounds.failures = [ConnectionResetError("cut") for _ in range(3)]
    batch = make(rounds, idempotent=True)
    with pytest.raises(OutcomeUnknown):
        await batch.submit("a")
    assert len(rounds.seen) == 3


async def test_work_that_was_cut_off_is_unknown_even_if_no_second_try_is_possible() -> None:
    rounds, lines = Rounds(), Lines()
    rounds.failures = [ConnectionResetError("cut")]
    rounds.gate.clear()
    batch = make(rounds, lines, idempotent=True)
    in_flight = batch.submit("a")
    await rounds.begun(1)
    never_sent = batch.submit("b")
    lines.away = True
    rounds.gate.set()
    outcomes = await asyncio.gather(in_flight, never_sent, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, Unavailable]


async def test_while_the_database_is_away_everybody_is_told_and_nobody_spins() -> None:
    rounds, lines = Rounds(), Lines()
    lines.away = True
    batch = make(rounds, lines, rows_max=1)
    for result in await asyncio.gather(*(batch.submit(n) for n in range(3)), return_exceptions=True):
        assert isinstance(result, Unavailable)
        assert not isinstance(result, OutcomeUnknown)
    with pytest.raises(Unavailable, match="the database is away; try again"):
        batch.submit("refused at once")
    assert lines.attempts == 1
    assert (rounds.seen, batch.depth) == ([], 0)


async def test_the_batch_recovers_when_the_database_returns() -> None:
    lines = Lines()
    lines.away = True
    batch = make(Rounds(), lines)
    with pytest.raises(Unavailable) as caught:
        await batch.submit("early")
    lines.away = False
    async with asyncio.timeout(5):
        while True:
            try:
                assert await batch.submit("later") == "later"
                break
            except Unavailable as error:
                assert 0 < error.retry_after_seconds <= caught.value.retry_after_seconds
                await asyncio.sleep(error.retry_after_seconds)
    assert lines.attempts == 2


async def test_a_database_that_is_known_to_be_back_is_not_kept_waiting() -> None:
    lines = Lines()
    lines.away = True
    batch = make(Rounds(), lines)
    for _ in range(8):
        with pytest.raises(Unavailable):
            await batch.submit(1)
    lines.away, lines.available = False, True
    assert await batch.submit(2) == 2
    await batch.stop()


async def test_stop_finishes_what_is_queued_then_refuses_and_closes() -> None:
    rounds, lines = Rounds(), Lines()
    batch = make(rounds, lines, rows_max=1, lanes=2, key=first)
    rounds.gate.clear()
    results = [batch.submit(item) for item in [("k", 1), ("k", 2), ("other", 1), ("third", 1)]]
    await rounds.begun(2)
    stops = [asyncio.ensure_future(batch.stop()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="draining"):
        batch.submit(("late", 1))
    assert not stops[0].done()
    rounds.gate.set()
    await asyncio.gather(*stops)
    assert [future.result() for future in results] == [("k", 1), ("k", 2), ("other", 1), ("third", 1)]
    assert (len(lines.opened), lines.open_lines) == (2, 0)
    await batch.stop()


async def test_a_batch_that_never_ran_stops_without_connecting() -> None:
    lines = Lines()
    await make(Rounds(), lines).stop()
    assert lines.attempts == 0


async def test_a_failing_key_function_fails_its_caller_only() -> None:
    batch = make(Rounds(), key=lambda item: 1 // item)
    with pytest.raises(ZeroDivisionError):
        batch.submit(0)
    assert await batch.submit(1) == 1


async def test_a_lane_torn_down_with_its_loop_leaves_no_caller_waiting() -> None:
    rounds = Rounds()
    batch = make(rounds)
    rounds.gate.clear()
    result = batch.submit("a")
    await rounds.begun(1)
    for task in asyncio.all_tasks():
        if task.get_name() == "batch test":
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(result, 5)


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="every limit must be at least 1"):
        make(None, lanes=0)
