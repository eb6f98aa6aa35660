"""What names, identifiers and passwords may be: counted in bytes, told in the wire's words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from palestra.core.errors import InvalidArgument
from palestra.features.accounts import rules
from palestra.features.accounts.contract import IdentityKind

DEVICE_BLANK = "Device ID invalid, no spaces or control characters allowed."
DEVICE_SIZE = "Device ID invalid, must be 10-128 bytes."
CUSTOM_BLANK = "Custom ID invalid, no spaces or control characters allowed."
CUSTOM_SIZE = "Custom ID invalid, must be 6-128 bytes."
EMAIL_FORM = "Invalid email address format."
EMAIL_SIZE = "Invalid email address, must be 10-255 bytes."
NAME_SIZE = "Username invalid, must be 1-128 bytes."
NAME_CONTROL = "Username invalid, no spaces or control characters allowed."

REFUSED: list[tuple[Callable[[str], object], str, str]] = [
    (rules.device_id, "", "Device ID is required."),
    (rules.device_id, "has a space", DEVICE_BLANK),
    (rules.device_id, "0123456789\t", DEVICE_BLANK),
    (rules.device_id, "0123456789\x00", DEVICE_BLANK),
    (rules.device_id, "0123456789\x7f", DEVICE_BLANK),
    (rules.device_id, "a b", DEVICE_BLANK),
    (rules.device_id, "012345678", DEVICE_SIZE),
    (rules.device_id, "0" * 129, DEVICE_SIZE),
    (rules.device_id, "é" * 65, DEVICE_SIZE),
    (rules.custom_id, "", "Custom ID is required."),
    (rules.custom_id, "two words", CUSTOM_BLANK),
    (rules.custom_id, "12345", CUSTOM_SIZE),
    (rules.custom_id, "😀" * 33, CUSTOM_SIZE),
    (rules.email_form, "nobody.example.org", EMAIL_FORM),
    (rules.email_form, "@example.org", EMAIL_FORM),
    (rules.email_form, "ann@example", EMAIL_FORM),
    (rules.email_form, "ann@.org", EMAIL_FORM),
    (rules.email_form, "annabella@example.", EMAIL_FORM),
    (rules.email_form, "a@b.c", EMAIL_SIZE),
    (rules.email_form, "a" * 244 + "@example.org", EMAIL_SIZE),
    (rules.username, "", NAME_SIZE),
    (rules.username, "n" * 129, NAME_SIZE),
    (rules.username, "é" * 65, NAME_SIZE),
    (rules.username, "new\nline", NAME_CONTROL),
    (rules.username, "odd[]name", NAME_CONTROL),
    (rules.password, "seven77", "Password must be at least 8 characters long."),
    (rules.password, "x" * 1025, "Password must be at most 1024 bytes long."),
]


@pytest.mark.parametrize(("rule", "text", "told"), REFUSED)
def test_what_does_not_fit_is_refused_in_the_documented_words(
    rule: Callable[[str], object], text: str, told: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rule(text)
    assert refused.value.message == told


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.device_id, "0123456789"),
        (rules.device_id, "é" * 64),
        (rules.device_id, "no-break\u00a0space is no ascii blank".replace(" ", "-")),
        (rules.custom_id, "123456"),
        (rules.custom_id, "😀" * 32),
        (rules.username, " "),
        (rules.username, 'Ann, "the" [best] 王'),
        (rules.username, "é" * 64),
        (rules.password, "éééé"),
        (rules.password, " " * 8),
    ],
)
def test_what_fits_is_taken_as_it_is(rule: Callable[[str], str], text: str) -> None:
    assert rule(text) == text


def test_a_custom_id_that_is_linked_has_its_own_words() -> None:
    for text, told in (
        ("two words", "Invalid custom ID, no spaces or control characters allowed."),
        ("12345", "Invalid custom ID, must be 6-128 bytes."),
    ):
        with pytest.raises(InvalidArgument) as refused:
            rules.custom_id(text, linking=True)
        assert refused.value.message == told


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("display_name", "d" * 256),
        ("avatar_url", "a" * 513),
        ("lang_tag", ""),
        ("lang_tag", "l" * 19),
        ("location", "l" * 256),
        ("timezone", "\x00"),
    ],
)
def test_a_profile_field_that_does_not_fit_is_refused(field: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rules.profile({field: text})
    assert refused.value.message == "Error while trying to update account."


def test_absent_profile_fields_are_kept_and_empty_ones_cleared() -> None:
    assert rules.profile({"display_name": "", "location": None, "lang_tag": "fr"}) == {
        "display_name": None,
        "lang_tag": "fr",
    }


DEVICE, EMAIL, CUSTOM = IdentityKind.DEVICE, IdentityKind.EMAIL, IdentityKind.CUSTOM


@pytest.mark.parametrize(
    ("identities", "kind", "lookup", "has_password", "may"),
    [
        ([(DEVICE, b"a")], DEVICE, b"a", False, False),
        ([(DEVICE, b"a"), (DEVICE, b"b")], DEVICE, b"a", False, True),
        ([(DEVICE, b"a"), (DEVICE, b"b")], DEVICE, b"c", False, False),
        ([(DEVICE, b"a"), (EMAIL, b"b")], EMAIL, None, True, True),
        ([(DEVICE, b"a"), (EMAIL, b"b")], DEVICE, b"a", True, True),
        ([(DEVICE, b"a"), (EMAIL, b"b")], DEVICE, b"a", False, False),
        ([(DEVICE, b"a"), (EMAIL, b"b")], EMAIL, None, False, True),
        ([(EMAIL, b"b")], EMAIL, None, True, False),
        ([(EMAIL, b"b")], CUSTOM, None, True, True),
        ([(EMAIL, b"b"), (CUSTOM, b"c")], EMAIL, b"x", True, False),
    ],
)
def test_the_last_way_in_stays_and_a_named_one_must_be_the_players_own(
    identities: list[tuple[int, bytes]], kind: IdentityKind, lookup: bytes | None, has_password: bool, may: bool
) -> None:
    assert rules.may_unlink(identities, kind, lookup, has_password) is may


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("Ann@Example.org", "ann@example.org"),
        ("ann@relay", ""),
        ("a b@example.org", ""),
        ("a@b.c", ""),
        ("", ""),
    ],
)
def test_an_address_from_a_provider_is_kept_in_small_letters_if_one_could_log_in_by_it(told: str, kept: str) -> None:
    assert rules.email_from_provider(told) == kept


def test_what_a_provider_tells_is_kept_only_if_it_fits() -> None:
    assert rules.from_provider("é" * 127, 255) == "é" * 127
    for text in ("", "é" * 128, "a\x00b"):
        assert rules.from_provider(text, 255) is None
