"""What the bench reads from its load generators, above all when something went wrong."""

from __future__ import annotations

import pytest

from bench import parse

WRK = """Running 5s test @ http://127.0.0.1:7350
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.57ms  612.00us  14.01ms   91.20%
    Req/Sec    25.03k     1.10k   26.90k    80.00%
  Latency Distribution
     50%  980.00us
     75%    2.60ms
     90%    3.00ms
     99%    1.25s
  124600 requests in 5.00s, 60.00MB read
{faults}Requests/sec:  24911.07
Transfer/sec:     12.00MB
"""
PGBENCH = """pgbench (18.1)
number of clients: 64
number of transactions actually processed: 35712
number of failed transactions: {failed} (0.000%)
latency average = 8.960 ms
initial connection time = 61.700 ms
tps = 7142.857143 (without initial connection time)
"""


def test_a_clean_run_gives_its_figures_in_milliseconds() -> None:
    load = parse.wrk(WRK.format(faults=""))
    assert load == parse.Load(124_600, 24_911.07, 0.98, 1_250.0, "")


def test_errors_are_told_however_fast_they_came() -> None:
    load = parse.wrk(WRK.format(faults="  Non-2xx or 3xx responses: 12\n"))
    assert "12 of 124,600 answers were errors" in load.faults


def test_socket_errors_are_told_by_kind() -> None:
    load = parse.wrk(WRK.format(faults="  Socket errors: connect 0, read 7, write 0, timeout 3\n"))
    assert load.faults == "socket errors: 7 read, 3 timeout"


def test_a_run_without_answers_is_no_clean_run() -> None:
    silent = WRK.format(faults="").replace("124600 requests", "0 requests").replace("24911.07", "0.00")
    assert parse.wrk(silent).faults


def test_a_tool_that_could_not_start_is_quoted() -> None:
    with pytest.raises(parse.Unreadable, match="unable to connect"):
        parse.wrk("unable to connect to 127.0.0.1:1 Connection refused")


@pytest.mark.parametrize(("failed", "faults"), [(0, ""), (4, "4 transactions failed")])
def test_failed_transactions_are_told(failed: int, faults: str) -> None:
    assert parse.pgbench(PGBENCH.format(failed=failed)) == parse.Load(35_712, 7142.857143, None, None, faults)


def test_a_server_too_busy_for_a_single_transaction_is_told() -> None:
    assert parse.pgbench("number of transactions actually processed: 0\n").faults
