"""Patterns without backtracking match what Python's own engine says they match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.core.regexps import BadPattern, regexp, wildcard

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\W", r"\.", "(?:ab)", "1", "[]a]", r"[\d-]"])
REPEATS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "{0}", "{0,2}", "*?", "+?"])
PATTERNS = st.recursive(
    st.tuples(ATOMS, REPEATS).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(" + "|".join(parts) + ")"),
        st.tuples(inner, REPEATS).map(lambda part: f"({part[0]}){part[1]}"),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.lists(st.text("abc1.-]\n", max_size=8), min_size=1, max_size=6))
def test_patterns_match_as_in_python(pattern: str, texts: list[str]) -> None:
    try:
        made = regexp(pattern)
    except BadPattern as refused:
        assert "too large" in str(refused)
        return
    expected = re.compile(pattern)
    for text in texts:
        assert made.matches(text) == (expected.fullmatch(text) is not None)


@given(st.text("ab*?", max_size=8), st.text("ab\n", max_size=8))
def test_wildcards_match_as_expected(pattern: str, text: str) -> None:
    expected = re.compile("".join({"*": ".*", "?": "."}.get(char, char) for char in pattern), re.DOTALL)
    assert wildcard(pattern)(text) == (expected.fullmatch(text) is not None)


def test_a_backslash_makes_a_wildcard_plain() -> None:
    assert wildcard(r"a\*b\\*")(r"a*b\c")
    assert not wildcard(r"a\*b")("axb")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^ab$", "ab", True),
        ("", "", True),
        ("", "a", False),
        ("a|", "", True),
        ("(?i)Straße", "sTRAßE", True),
        ("(?i)[a-c]+", "ABC", True),
        (r"\t\n", "\t\n", True),
        (r"[\]\\]+", "]\\", True),
        (r"[\w-]+", "a-b", True),
        ("ж+", "жж", True),
    ],
)
def test_the_corners_of_patterns(pattern: str, text: str, expected: bool) -> None:
    assert regexp(pattern).matches(text) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "a**",
        "a{2}{3}",
        "(?P<n>a)",
        "(?<=a)b",
        r"\bword\b",
        r"(a)\1",
        "a^b",
        "a$b",
        "[z-a]",
        r"[a-\d]",
        "(" * 40 + ")" * 40,
        "a" * 513,
        "a{129}",
        "(a{16}){17}",
        "((){256}){256}",
    ],
)
def test_what_cannot_be_matched_in_bounded_time_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        regexp(pattern)
