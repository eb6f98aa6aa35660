"""Pure decisions: amounts, windows, keys, words."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.core.errors import PalestraError
from palestra.features.ledger.contract import Line
from palestra.features.providers import contract, rules, wire
from palestra.features.providers.contract import BadAmount, BadWindow
from palestra.features.providers.words import WORDS, word_of

NOW = 1_750_000_000


def amount(text: str) -> int:
    body = f'{{"request_id":"r","transaction_id":"t","round_id":"o","player_id":"p","asset":"EUR","amount":{text}}}'
    return rules.amount_of(msgspec.json.decode(body, type=wire.Credit).amount)


@given(st.integers(1, 2**63 - 1), st.booleans())
def test_whole_numbers_are_amounts_as_numbers_and_as_texts(number: int, as_text: bool) -> None:
    assert amount(f'"{number}"' if as_text else f" {number} ") == number


WRONG = [
    "0", "-0", "-1", "1.0", "1.5", "1e2", "9223372036854775808", "1" * 400, '""', '"0"', '"-1"', '"+1"', '"01"', '" 1"',
    '"1.0"', '"1e2"', '"9223372036854775808"', '"٣"', '"1_000"', '"0x10"', '"1\\u0030"', '"1\\n"', "true", "null",
    "[5]", '{"a":5}', '"NaN"',
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(BadAmount):
        amount(text)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\na", "é", "a" * 129, "a\x00", "\t"])
def test_ids_are_visible_ascii(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, wire.Name)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128))
def test_visible_ascii_is_an_id_and_no_two_requests_share_a_key(name: str) -> None:
    assert msgspec.convert(name, wire.Name) == name
    made = (rules.transaction_key, rules.rollback_key, rules.late_credit_key)
    keys = [make(provider, name) for make in made for provider in ("a", "b")]
    assert len(set(keys)) == 6 and max(map(len, keys)) <= 256
    cause = rules.read_cause(rules.cause(name, name))
    assert (cause.transaction_id, cause.request_id) == (name, name)


@pytest.mark.parametrize(
    ("since", "until", "cursor"),
    [
        (NOW, NOW, ""),
        (NOW, NOW - 1, ""),
        (NOW, NOW + 86_401, ""),
        (NOW, NOW + 10, "x"),
        (NOW, NOW + 10, "-1"),
        (NOW, NOW + 10, "7"),
        (NOW, NOW + 10, str(Line.id_at(NOW + 10))),
        (NOW, NOW + 10, "9" * 20),
        (NOW, NOW + 10, "٣" * 10),
    ],
)
def test_windows_are_a_day_at_most_and_cursors_lie_inside(since: int, until: int, cursor: str) -> None:
    with pytest.raises(BadWindow):
        rules.line_ids(since, until, cursor)


def test_a_page_goes_on_behind_its_cursor() -> None:
    first, end = rules.line_ids(NOW, NOW + 86_400, "")
    assert (first, end) == (Line.id_at(NOW), Line.id_at(NOW + 86_400))
    assert end - first == 86_400 * 10**6 * 4096
    assert rules.line_ids(NOW, NOW + 86_400, str(first + 5)) == (first + 6, end)


def test_every_refusal_of_the_feature_has_a_word_of_its_own_kind() -> None:
    kinds = [kind for kind in vars(contract).values() if isinstance(kind, type) and issubclass(kind, PalestraError)]
    kinds = [kind for kind in kinds if kind.__module__ == contract.__name__]
    general = {contract.UnknownProvider: "not_found", contract.BadWindow: "bad_request"}
    assert len(kinds) > 12
    for kind in kinds:
        error = kind.__new__(kind)
        assert word_of(error) == (general[kind] if kind in general else WORDS[kind])
