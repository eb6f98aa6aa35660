"""Regular expressions and wildcards from outside, matched in time linear in the text: no input can hang a node.

A regular expression becomes a position automaton (Glushkov): one bit for each character it names, sets of bits as whole
numbers. There is no backtracking, hence no back references and no look-around; both are refused with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

PATTERN_CHARS_MAX = 512
TEXT_CHARS_MAX = 512
"""Longer texts match no regular expression."""
POSITIONS_MAX = 128
"""Characters of a pattern after its counted repeats are written out."""
DEPTH_MAX = 32
READS_MAX = 512
"""Parts read while repeats are written out: even a repeat of nothing takes time."""
_REPEATS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_KNOWN_CHARS_MAX = 512

Test = Callable[[str], bool]


class BadPattern(ValueError):
    """A pattern that cannot be read; the message says why."""


@dataclass(slots=True)
class _Part:
    """A part of a pattern: the positions it may begin and end with, and whether it matches the empty text."""

    first: int
    last: int
    nullable: bool


@dataclass(slots=True)
class Automaton:
    """A pattern that can be matched. Costs one step of at most `POSITIONS_MAX / 8` look-ups per character."""

    tests: list[Test] = field(default_factory=list)
    follow: list[int] = field(default_factory=list)
    whole: _Part = field(default_factory=lambda: _Part(0, 0, True))
    _of_char: dict[str, int] = field(default_factory=dict)
    _of_byte: dict[int, int] = field(default_factory=dict)

    def matches(self, text: str) -> bool:
        """Whether the pattern covers the whole text, which may have `TEXT_CHARS_MAX` characters."""
        if not text:
            return self.whole.nullable
        if len(text) > TEXT_CHARS_MAX:
            return False
        states, reachable = 0, self.whole.first
        for char in text:
            states = reachable & self._accepting(char)
            if not states:
                return False
            reachable = self._after(states)
        return bool(states & self.whole.last)

    def _accepting(self, char: str) -> int:
        """The positions that take a character."""
        known = self._of_char.get(char)
        if known is None:
            if len(self._of_char) >= _KNOWN_CHARS_MAX:
                self._of_char.clear()
            known = sum(1 << place for place, test in enumerate(self.tests) if test(char))
            self._of_char[char] = known
        return known

    def _after(self, states: int) -> int:
        """The positions that may come after a set of them, eight at a time."""
        found = 0
        for base, eight in enumerate(states.to_bytes((states.bit_length() + 7) // 8, "little")):
            if eight:
                known = self._of_byte.get(base << 8 | eight)
                found |= self._learn(base, eight) if known is None else known
        return found

    def _learn(self, base: int, eight: int) -> int:
        found = 0
        for bit in range(8):
            if eight >> bit & 1:
                found |= self.follow[base * 8 + bit]
        self._of_byte[base << 8 | eight] = found
        return found

    # -- building

    def position(self, test: Test) -> _Part:
        """A new character."""
        if len(self.tests) >= POSITIONS_MAX:
            raise BadPattern(f"the pattern is too large: with its repeats it may have {POSITIONS_MAX} characters")
        place = 1 << len(self.tests)
        self.tests.append(test)
        self.follow.append(0)
        return _Part(place, place, False)

    def sequence(self, left: _Part, right: _Part) -> _Part:
        """One part after another."""
        self._link(left.last, right.first)
        return _Part(
            left.first | (right.first if left.nullable else 0),
            right.last | (left.last if right.nullable else 0),
            left.nullable and right.nullable,
        )

    def repeated(self, part: _Part, least: int) -> _Part:
        """A part any number of times from `least` (0 or 1) on."""
        self._link(part.last, part.first)
        return _Part(part.first, part.last, part.nullable or least == 0)

    def _link(self, sources: int, targets: int) -> None:
        while sources:
            lowest = sources & -sources
            self.follow[lowest.bit_length() - 1] |= targets
            sources ^= lowest


def wildcard(pattern: str) -> Callable[[str], bool]:
    r"""Whether a text is covered: `*` any run, `?` any one character, `\` before one of these meant as such."""
    parts: list[str] = [""]
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            parts.append("")
        else:
            parts[-1] += "." if char == "?" else re.escape(next(chars, "\\") if char == "\\" else char)
    # The first place where a part fits is as good as any later one, so nothing found is ever given up again: (?>...).
    first, *middle, last = parts if len(parts) > 1 else (parts[0], "")
    found = first + "".join(f"(?>.*?{part})" for part in middle if part) + (".*" if len(parts) > 1 else "") + last
    fullmatch = re.compile(found, re.DOTALL).fullmatch
    return lambda text: fullmatch(text) is not None


def regexp(pattern: str) -> Automaton:
    r"""A regular expression that has to cover the whole text.

    Characters, `.`, classes as `[a-z_]` and `[^0-9]`, `\d \w \s` and their opposites, groups, `|`, and the repeats
    `* + ? {n} {n,} {n,m}`; a leading `(?i)` ignores case. Raises BadPattern.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise BadPattern(f"the pattern is too long: it may have {PATTERN_CHARS_MAX} characters")
    fold = pattern.startswith("(?i)")
    return _Reader(pattern[4:] if fold else pattern, fold).read()


class _Reader:
    """Reads a regular expression from left to right."""

    def __init__(self, text: str, fold: bool) -> None:
        self._text = text
        self._fold = fold
        self._at = 0
        self._reads = 0
        self._made = Automaton()

    def read(self) -> Automaton:
        self._skip("^")
        self._made.whole = self._choice(0)
        if self._at < len(self._text):
            raise BadPattern("a ) closes nothing")
        return self._made

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, expected: str) -> bool:
        if self._text.startswith(expected, self._at):
            self._at += len(expected)
            return True
        return False

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise BadPattern("the pattern ends too early")
        self._at += 1
        return char

    def _choice(self, depth: int) -> _Part:
        if depth > DEPTH_MAX:
            raise BadPattern(f"groups may stand in each other {DEPTH_MAX} deep")
        found = self._sequence(depth)
        while self._skip("|"):
            other = self._sequence(depth)
            found = _Part(found.first | other.first, found.last | other.last, found.nullable or other.nullable)
        return found

    def _sequence(self, depth: int) -> _Part:
        found = _Part(0, 0, True)
        while (char := self._peek()) and char not in "|)":
            if char == "$" and self._at == len(self._text) - 1:
                self._at += 1
                break
            found = self._made.sequence(found, self._repeated(depth))
        return found

    def _repeated(self, depth: int) -> _Part:
        start = self._at
        part = self._atom(depth)
        end = self._at
        repeat = self._repeat()
        if repeat is None:
            return part
        least, most = repeat
        self._skip("?")  # the lazy form matches the same whole texts
        if self._peek() in ("*", "+", "?") or self._repeat() is not None:
            raise BadPattern("a repeat of a repeat needs a group")
        rest = self._at
        if most is None and least <= 1:
            return self._made.repeated(part, least)
        if most == 0:
            return _Part(0, 0, True)

        def again() -> _Part:
            # Reading the text once more makes the copy, and counts its positions.
            self._at = start
            made = self._atom(depth)
            assert self._at == end
            return made

        whole = part if least else _Part(part.first, part.last, True)
        for count in range(2, (most or least) + 1):
            one = again()
            if most is None and count == least:
                one = self._made.repeated(one, 1)
            whole = self._made.sequence(whole, one if count <= least else _Part(one.first, one.last, True))
        self._at = rest
        return whole

    def _repeat(self) -> tuple[int, int | None] | None:
        """The repeat that stands here, if one does."""
        if (known := _REPEATS.get(self._peek())) is not None:
            self._at += 1
            return known
        if self._peek() != "{":
            return None
        inside, closed, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _digits(low) or (high and not _digits(high)):
            raise BadPattern("a repeat is written {n}, {n,} or {n,m}; for the character itself write \\{")
        self._at += len(inside) + 2
        least = int(low)
        most = (int(high) if high else None) if comma else least
        if most is not None and most < least:
            raise BadPattern(f"the repeat {{{inside}}} ends below its start")
        if max(least, most or 0) > POSITIONS_MAX:
            raise BadPattern(f"a repeat may count to {POSITIONS_MAX}")
        return least, most

    def _atom(self, depth: int) -> _Part:
        self._reads += 1
        if self._reads > READS_MAX:
            raise BadPattern(f"the pattern is too large: with its repeats it may have {READS_MAX} parts")
        char = self._next()
        if char == "(":
            if self._peek() == "?" and not self._skip("?:"):
                raise BadPattern("after (? only : is understood: no look-around, no names, no flags within")
            part = self._choice(depth + 1)
            if not self._skip(")"):
                raise BadPattern("a ( is not closed")
            return part
        if char == "[":
            return self._position(self._class())
        if char == ".":
            return self._made.position(lambda one: one != "\n")
        if char == "\\":
            return self._position(self._escape())
        if char in _REPEATS or char == "{":
            raise BadPattern(f"{char} repeats nothing")
        if char in "^$":
            raise BadPattern(f"{char} within a pattern: it covers the whole text anyway")
        return self._position(char.__eq__)

    def _position(self, test: Test) -> _Part:
        if not self._fold:
            return self._made.position(test)
        return self._made.position(lambda one: test(one) or test(one.lower()) or test(one.upper()))

    def _escape(self) -> Test:
        char = self._next()
        if (kind := _CLASSES.get(char)) is not None:
            return kind
        if (control := _CONTROLS.get(char)) is not None:
            return control.__eq__
        if char.isalnum():
            raise BadPattern(f"\\{char} is not understood: no back references, no boundaries")
        return char.__eq__

    def _class(self) -> Test:
        negated = self._skip("^")
        tests: list[Test] = []
        first = True
        while (char := self._next()) != "]" or first:
            first = False
            low = self._class_char(char)
            if callable(low):
                tests.append(low)
                continue
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                end = self._class_char(self._next())
                if callable(end) or end < low:
                    raise BadPattern(
                        f"the range {low}-{'class' if callable(end) else end} in [] has no end or no start"
                    )
                high = end
            tests.append(_between(low, high))
        return _none_of(tests) if negated else _any_of(tests)

    def _class_char(self, char: str) -> str | Test:
        if char != "\\":
            return char
        char = self._peek()
        if char in _CONTROLS:
            self._at += 1
            return _CONTROLS[char]
        if char in _CLASSES or char.isalnum():
            return self._escape()
        return self._next()


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _is_word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


def _is_space(char: str) -> bool:
    return char in "\t\n\f\r "


def _between(low: str, high: str) -> Test:
    return lambda char: low <= char <= high


def _any_of(tests: Iterable[Test]) -> Test:
    fixed = tuple(tests)
    return lambda char: any(test(char) for test in fixed)


def _none_of(tests: Iterable[Test]) -> Test:
    fixed = tuple(tests)
    return lambda char: not any(test(char) for test in fixed)


_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_CLASSES: dict[str, Test] = {
    "d": _is_digit,
    "D": _none_of([_is_digit]),
    "w": _is_word,
    "W": _none_of([_is_word]),
    "s": _is_space,
    "S": _none_of([_is_space]),
}
