"""Tokens: only what we signed, with our key and our header, is believed."""

from __future__ import annotations

import base64

import msgspec
import pytest

from palestra.core.tokens import Signer


class Claims(msgspec.Struct):
    who: str
    exp: int


SIGNER = Signer("key", Claims)


def part(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def test_a_token_says_what_was_signed() -> None:
    assert SIGNER.check(SIGNER.sign(Claims("zoë", 7))) == Claims("zoë", 7)


def test_a_token_is_an_ordinary_json_web_token() -> None:
    header, payload, _ = SIGNER.sign(Claims("ann", 7)).split(".")
    assert base64.urlsafe_b64decode(header + "=") == b'{"alg":"HS256","typ":"JWT"}'
    assert base64.urlsafe_b64decode(payload + "==") == b'{"who":"ann","exp":7}'


def test_another_key_is_another_signature() -> None:
    assert Signer("other", Claims).check(SIGNER.sign(Claims("ann", 7))) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "\ud800",
        part(b'{"alg":"none"}') + "." + part(b'{"who":"ann","exp":7}') + ".",
        SIGNER.sign(Claims("ann", 7))[:-2] + "xx",
        SIGNER.sign(Claims("ann", 7)) + ".",
        SIGNER.sign(Claims("ann", 7)).replace(".", "..", 1),
    ],
)
def test_anything_else_is_no_token(token: str) -> None:
    assert SIGNER.check(token) is None


def test_claims_of_another_kind_are_no_token_even_when_well_signed() -> None:
    class Other(msgspec.Struct):
        mid: str

    assert SIGNER.check(Signer("key", Other).sign(Other("match"))) is None
