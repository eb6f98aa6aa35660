"""Pure decisions of fair draws: from seeds to bytes to values (palestra-fair-1), and what may be a seed or a step.

The bytes of a draw are blocks of 32: HMAC-SHA256 with the server seed's 32 bytes as key and `client_seed:nonce:block`
as message, block counting from 0. Each block is four words: unsigned 64-bit numbers, most significant byte first. Every
method takes whole words, in order, and never one twice. docs/guide/fair.md is the specification.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.features.fair.contract import (
    ALGORITHM,
    CLIENT_SEED_CHARS_MAX,
    ITEMS_MAX,
    KEY_CHARS_MAX,
    NONCE_MAX,
    NUMBER_MAX,
    ROUND_ID_CHARS_MAX,
    SEED_BYTES,
    VERIFY_ITEMS_MAX,
    VERIFY_STEPS_MAX,
    BadDraw,
    BadKey,
    BadPage,
    BadSeed,
    Step,
)

WORDS = 2**64
"""How many values a word can have."""
_WORDS_PER_BLOCK = 4
_words_of = struct.Struct(">4Q").unpack
NEWEST = 2**31 - 1
"""Above the number of every revealed seed: where a history starts."""

T = TypeVar("T")


class SeededDraw:
    """The values of one nonce; implements the contract's `Draw`."""

    __slots__ = ("_at", "_block", "_message", "_seed", "_words", "client_seed", "commitment", "nonce")

    algorithm = ALGORITHM

    def __init__(self, server_seed: bytes, client_seed: str, nonce: int, commitment: str) -> None:
        self.commitment = commitment
        self.client_seed = client_seed
        self.nonce = nonce
        self._seed = server_seed
        self._message = f"{client_seed}:{nonce}:"
        self._block = 0
        self._words: tuple[int, ...] = ()
        self._at = _WORDS_PER_BLOCK

    def __repr__(self) -> str:
        # The server seed must never reach a log by way of a traceback.
        return f"SeededDraw(commitment={self.commitment!r}, client_seed={self.client_seed!r}, nonce={self.nonce})"

    def _word(self) -> int:
        if self._at == _WORDS_PER_BLOCK:
            self._words = _words_of(hmac.digest(self._seed, f"{self._message}{self._block}".encode(), "sha256"))
            self._block += 1
            self._at = 0
        self._at += 1
        return self._words[self._at - 1]

    def below(self, n: int) -> int:
        """See Draw.below. One word, and one more for each that is rejected."""
        if not 1 <= _whole(n) <= NUMBER_MAX:
            raise BadDraw(f"A draw chooses from 1 to {NUMBER_MAX} numbers, not from {n}.")
        while (value := accepted(self._word(), n)) is None:
            pass
        return value

    def between(self, low: int, high: int) -> int:
        """See Draw.between. The words of `below(high - low + 1)`."""
        if max(abs(_whole(low)), abs(_whole(high))) > NUMBER_MAX:
            raise BadDraw(f"Bounds lie between -{NUMBER_MAX} and {NUMBER_MAX}, not {low} and {high}.")
        if low > high:
            raise BadDraw(f"There is no number between {low} and {high}: give the lower one first.")
        return low + self.below(high - low + 1)

    def fraction(self) -> float:
        """See Draw.fraction. One word, of which the highest 53 bits count."""
        return (self._word() >> 11) / NUMBER_MAX

    def pick(self, items: Sequence[T]) -> T:
        """See Draw.pick. The words of `below(len(items))`."""
        _check_count(len(items), "items to pick from", 1)
        return items[self.below(len(items))]

    def weighted(self, weights: Mapping[T, int]) -> T:
        """See Draw.weighted. The words of `below(sum of the weights)`."""
        return list(weights)[self.weighted_index(list(weights.values()))]

    def weighted_index(self, weights: Sequence[int]) -> int:
        """The place of the first weight at which the sum of the weights so far is above `below(their sum)`."""
        _check_count(len(weights), "weights", 1)
        for weight in weights:
            if _whole(weight) < 0:
                raise BadDraw(f"A weight is 0 or more, not {weight}.")
        total = sum(weights)
        if not 1 <= total <= NUMBER_MAX:
            raise BadDraw(f"Weights add up to 1 to {NUMBER_MAX}, not to {total}.")
        left = self.below(total)
        for place, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return place
        raise RuntimeError("weights do not add up to their sum")

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """See Draw.shuffle. From the last place down to the second, an item changes places with one at or before it."""
        _check_count(len(items), "items to shuffle", 0)
        shuffled = list(items)
        for place in range(len(shuffled) - 1, 0, -1):
            other = self.below(place + 1)
            shuffled[place], shuffled[other] = shuffled[other], shuffled[place]
        return shuffled

    def dice(self, count: int, sides: int) -> list[int]:
        """See Draw.dice. The words of `below(sides)` for each die."""
        _check_count(_whole(count), "dice", 0)
        return [self.below(sides) + 1 for _ in range(count)]


def accepted(word: int, n: int, words: int = WORDS) -> int | None:
    """The number below `n` that a word stands for, None when it must be rejected.

    Only as many words count as are a multiple of `n`, the lowest ones, so that each number has equally many.
    """
    return word % n if word < words - words % n else None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise BadDraw(f"A draw takes whole numbers, not {value!r:.60}: floats would round the odds.")
    return value


def _check_count(count: int, what: str, least: int) -> None:
    if not least <= count <= ITEMS_MAX:
        raise BadDraw(f"A draw takes {least} to {ITEMS_MAX} {what}, not {count}.")


# -- seeds


def commitment_of(server_seed: bytes) -> bytes:
    """The 32 bytes that are published of a server seed before it is used."""
    return hashlib.sha256(server_seed).digest()


def server_seed_of(text: str) -> bytes:
    """A server seed given in hex. Raises BadSeed."""
    if len(text) == SEED_BYTES * 2 and all(digit in "0123456789abcdefABCDEF" for digit in text):
        return bytes.fromhex(text)
    raise BadSeed(f"A server seed is {SEED_BYTES * 2} hex digits, not {text!r:.80}.")


def check_client_seed(text: str) -> None:
    """Raises BadSeed unless everybody writes this client seed with the same bytes."""
    fits = 1 <= len(text) <= CLIENT_SEED_CHARS_MAX and text.isascii() and text.isprintable() and text.strip() == text
    if not fits:
        raise BadSeed(
            f"A client seed is 1 to {CLIENT_SEED_CHARS_MAX} printable ASCII characters without a blank at either end."
        )


def check_nonce(nonce: int) -> None:
    """Raises BadSeed unless a draw can have this nonce."""
    if not 0 <= nonce <= NONCE_MAX:
        raise BadSeed(f"A nonce is 0 to {NONCE_MAX}, not {nonce}.")


def check_key(key: str) -> None:
    """Raises BadKey unless a draw can be remembered by this key."""
    if not 1 <= len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise BadKey(f"A key of a draw is 1 to {KEY_CHARS_MAX} printable characters, not {key!r:.100}.")


def round_owner(round_id: str) -> str:
    """Whose a round's seed is; no player's id looks like this. Raises BadSeed."""
    if not 1 <= len(round_id) <= ROUND_ID_CHARS_MAX or not round_id.isprintable():
        raise BadSeed(f"A round is named by 1 to {ROUND_ID_CHARS_MAX} printable characters, not {round_id!r:.100}.")
    return f"round:{round_id}"


# -- verification


def values_of(draw: SeededDraw, steps: Sequence[Step]) -> list[Any]:
    """What each step of a draw gave. Raises BadDraw, before any work when there is too much of it."""
    if len(steps) > VERIFY_STEPS_MAX:
        raise BadDraw(f"One call verifies at most {VERIFY_STEPS_MAX} draws.")
    # Only positive sizes count: a negative one must not make room for others, and is refused when its turn comes.
    if sum(_items_of(step) for step in steps) > VERIFY_ITEMS_MAX:
        raise BadDraw(f"One call verifies at most {VERIFY_ITEMS_MAX} items, dice and weights; the script does more.")
    return [_value_of(draw, step) for step in steps]


def _items_of(step: Step) -> int:
    match step.kind:
        case "shuffle":
            return max(step.n, 0)
        case "dice":
            return max(step.count, 0)
        case "weighted":
            return len(step.weights)
    return 0


def _value_of(draw: SeededDraw, step: Step) -> Any:
    match step.kind:
        case "below":
            return draw.below(step.n)
        case "between":
            return draw.between(step.low, step.high)
        case "fraction":
            return draw.fraction()
        case "shuffle":
            _check_count(step.n, "items to shuffle", 0)
            return draw.shuffle(range(step.n))
        case "weighted":
            return draw.weighted_index(step.weights)
        case "dice":
            return draw.dice(step.count, step.sides)
    raise BadDraw(f"A draw is below, between, fraction, shuffle, weighted or dice, not {step.kind!r:.60}.")


# -- history


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Before which of its owner's seeds a page of history starts."""

    number: int


def position_of(cursor: str) -> int:
    """Before which number a page starts. Raises BadPage."""
    try:
        number = open_cursor(cursor, Position).number if cursor else NEWEST
    except ValueError:
        number = 0
    if not 1 <= number <= NEWEST:
        raise BadPage("Malformed cursor was used.")
    return number


def cursor_of(number: int) -> str:
    """The text form of a position."""
    return seal_cursor(Position(number))
