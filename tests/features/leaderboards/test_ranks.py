"""Ranks against a plain sorted list, and what loading may and may not override."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.features.leaderboards.ranks import Ranks

OWNERS = [bytes([n]) * 16 for n in (0, 1, 7, 128, 254, 255)]
owners = st.sampled_from(OWNERS)
scores = st.one_of(st.integers(0, 3), st.sampled_from([255, 256, 2**32, 2**63 - 1]))
writes = st.tuples(owners, st.one_of(st.none(), st.tuples(scores, scores)))


def places(model: dict[bytes, tuple[int, int]], descending: bool) -> dict[bytes, int]:
    order = sorted(model, key=lambda owner: (*model[owner], owner), reverse=descending)
    return {owner: place for place, owner in enumerate(order, 1)}


def write(ranks: Ranks, model: dict[bytes, tuple[int, int]], owner: bytes, score: tuple[int, int] | None) -> None:
    if score is None:
        ranks.remove(owner)
        model.pop(owner, None)
    else:
        ranks.set(owner, *score)
        model[owner] = score


@given(st.lists(writes, max_size=40), st.booleans())
def test_after_any_writes_and_removals_ranks_are_places_in_the_sorted_order(
    operations: list[tuple[bytes, tuple[int, int] | None]], descending: bool
) -> None:
    ranks = Ranks(descending=descending)
    model: dict[bytes, tuple[int, int]] = {}
    for owner, score in operations:
        write(ranks, model, owner, score)
        expected = places(model, descending)
        assert {one: ranks.rank(one) for one in OWNERS} == {one: expected.get(one) for one in OWNERS}
        assert ranks.count == len(model)


@given(
    st.dictionaries(owners, st.tuples(scores, scores)),
    st.lists(st.tuples(st.integers(0, 6), writes), max_size=12),
    st.booleans(),
)
def test_rows_that_arrive_late_never_override_a_newer_write_or_removal(
    stored: dict[bytes, tuple[int, int]],
    meanwhile: list[tuple[int, tuple[bytes, tuple[int, int] | None]]],
    descending: bool,
) -> None:
    """The rows are those of a snapshot; each write happens after that many rows have arrived."""
    ranks = Ranks(descending=descending, loading=True)
    model = dict(stored)
    rows = list(stored.items())
    for arrived in range(len(OWNERS) + 1):
        for at, (owner, score) in meanwhile:
            if at == arrived:
                write(ranks, model, owner, score)
        ranks.load((owner, *score) for owner, score in rows[arrived : arrived + 1])
    ranks.loaded()
    expected = places(model, descending)
    assert {one: ranks.rank(one) for one in OWNERS} == {one: expected.get(one) for one in OWNERS}


def test_while_loading_every_rank_is_unknown() -> None:
    ranks = Ranks(descending=True, loading=True)
    ranks.set(OWNERS[1], 5, 0)
    assert (ranks.loading, ranks.rank(OWNERS[1]), ranks.count) == (True, None, 0)
    ranks.loaded()
    assert (ranks.loading, ranks.rank(OWNERS[1]), ranks.count) == (False, 1, 1)


def test_rows_cannot_be_loaded_into_ranks_that_are_complete() -> None:
    with pytest.raises(RuntimeError, match="before they are complete"):
        Ranks(descending=True).load([(OWNERS[0], 1, 1)])
