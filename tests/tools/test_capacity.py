"""The capacity model: its page shows what it computes, and it counts what a node really holds."""

from __future__ import annotations

import pytest

from palestra.app.build import ThrowawayKeys, build
from palestra.core.config import Settings
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from tools import capacity


def test_the_page_shows_what_the_model_computes() -> None:
    assert capacity.PAGE.read_text(encoding="utf-8") == capacity.page(), "run: python -m tools.capacity --write"


def test_connections_are_those_that_a_node_can_hold() -> None:
    settings = Settings()
    parts = build(settings, Database(""), Sealer(ThrowawayKeys()), lambda: False)
    lanes = sum(len(batch._lanes) for store in parts.services.stores for batch in store.batches)
    assert lanes + settings.database.pool_connections_max + 2 == capacity.CONNECTIONS


@pytest.mark.parametrize("players", [1, 1_000, 50_000, 100_000, 100_001, 10_000_000])
def test_a_need_carries_its_players(players: int) -> None:
    found = capacity.need(players)
    in_cell = players / found.cells
    nodes = found.nodes / found.cells
    assert in_cell <= capacity.CELL_PLAYERS_MAX
    assert in_cell * (capacity.live_us(round(nodes)) + capacity.http_us(round(nodes))) <= nodes * capacity.BUSY * 1e6
    assert found.connections == found.nodes * capacity.CONNECTIONS


def test_a_write_costs_a_commit_alone_and_a_part_of_one_in_a_crowd() -> None:
    writes = {name: rate for name, rate in capacity.BEHAVIOUR.items() if capacity.COSTS[name].writes}
    reads = sum(
        rate * capacity.COSTS[name].postgres_us for name, rate in capacity.BEHAVIOUR.items() if name not in writes
    )
    assert capacity.postgres_us(1) == pytest.approx(reads + capacity.COMMIT_US * sum(writes.values()))
    shared = sum(rate * capacity.COSTS[name].postgres_us for name, rate in writes.items())
    assert capacity.postgres_us(1e9) == pytest.approx(reads + shared)


def test_twice_the_players_take_at_least_twice_of_what_they_use() -> None:
    few, many = capacity.need(20_000), capacity.need(40_000)
    assert many.nodes >= 2 * few.nodes - 1
    assert many.egress_mbit == pytest.approx(2 * few.egress_mbit)
    assert many.commits == pytest.approx(2 * few.commits)
