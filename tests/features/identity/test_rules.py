"""Which addresses may be asked: https, to Apple where it matters, and nothing that can be read in two ways."""

from __future__ import annotations

import pytest

from palestra.core.addresses import is_safe_url
from palestra.features.identity import rules

KEY = "/public-key/gc-prod-10.cer"


@pytest.mark.parametrize(
    ("url", "safe", "safe_on_this_machine"),
    [
        ("https://issuer.example/keys", True, True),
        ("https://issuer.example:8443/keys?a=b", True, True),
        ("http://issuer.example/keys", False, False),
        ("http://127.0.0.1:8080/keys", False, True),
        ("http://[::1]/keys", False, True),
        ("http://localhost.issuer.example/keys", False, False),
        ("https://me:secret@issuer.example/keys", False, False),
        ("https://issuer.example:port/keys", False, False),
        ("https://[issuer", False, False),
        ("https:///keys", False, False),
        ("file:///etc/passwd", False, False),
        ("", False, False),
    ],
)
def test_providers_are_asked_by_https_or_on_this_machine_where_that_is_allowed(
    url: str, safe: bool, safe_on_this_machine: bool
) -> None:
    assert is_safe_url(url, False) is safe
    assert is_safe_url(url, True) is safe_on_this_machine


@pytest.mark.parametrize("url", [f"https://static.gc.apple.com{KEY}", f"https://gc.apple.com:443{KEY}"])
def test_game_centers_keys_come_from_apples_host(url: str) -> None:
    assert rules.is_key_url(url, "gc.apple.com", False)


@pytest.mark.parametrize(
    "url",
    [
        f"http://static.gc.apple.com{KEY}",
        f"https://evil.example{KEY}",
        f"https://evilgc.apple.com{KEY}",
        f"https://gc.apple.com.evil.example{KEY}",
        f"https://static.gc.apple.com@evil.example{KEY}",
        f"https://evil.example\\.gc.apple.com{KEY}",
        f"https://evil.example\n.gc.apple.com{KEY}",
        f"https://static.gc.apple.com:8443{KEY}",
        f"https://static.gc.apple.com{KEY}?to=evil",
        f"https://static.gc.apple.com{KEY}#",
        f"https://static.gc.apple.com{KEY}{'x' * 256}",
        f"http://127.0.0.1{KEY}",
        "https://static.gc.apple.com",
    ],
)
def test_game_centers_keys_come_from_nowhere_else(url: str) -> None:
    assert not rules.is_key_url(url, "gc.apple.com", False)
    assert not rules.is_key_url(url, "gc.apple.com", True)
