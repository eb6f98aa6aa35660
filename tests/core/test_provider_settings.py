"""Settings of providers: one table each, and what would be open to guessing is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palestra.cli.setup import print_settings
from palestra.core.config import check_production, load_settings
from palestra.core.errors import SetupError
from palestra.core.provider_settings import ProviderSettings

ACME: dict[str, Any] = {"keys": {"k1": "a" * 32}, "allow_ips": ["10.0.0.0/8", "::1"], "assets": ["EUR"]}
OWN = {
    "socket.server_key": "a",
    "runtime.http_key": "b",
    "session.encryption_key": "c",
    "session.refresh_encryption_key": "d",
}


def test_a_table_of_the_file_and_json_of_the_environment_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "palestra.toml"
    keys, lists = f'keys = {{ k1 = "{"a" * 32}" }}', 'allow_ips = ["10.0.0.0/8", "::1"]\nassets = ["EUR"]'
    file.write_text(f"[providers.acme]\n{keys}\n{lists}\n")
    wanted = {"acme": ProviderSettings(keys={"k1": "a" * 32}, allow_ips=("10.0.0.0/8", "::1"), assets=("EUR",))}
    assert load_settings(file=file).settings.providers == wanted
    environ = {"PALESTRA_PROVIDERS": json.dumps({"acme": ACME})}
    assert load_settings(environ=environ).settings.providers == wanted
    assert load_settings().settings.providers == {}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"keys": {}}, "providers.acme.keys: one key, or 2"),
        ({"keys": {name: name * 32 for name in "abc"}}, "not 3"),
        ({"keys": {"k1": "a" * 31}}, "providers.acme.keys.k1: a secret has at least 32"),
        ({"keys": {"k1": "a" * 32, "k2": "a" * 32}}, "same secret as providers.acme.keys.k1"),
        ({"keys": {"k 1": "a" * 32}}, "a key's id"),
        ({"allow_ips": []}, "allow_ips is empty"),
        ({"allow_ips": ["10.0.0.1/8"]}, "has host bits set"),
        ({"allow_ips": ["localhost"]}, "'localhost' does not appear to be"),
        ({"assets": []}, "assets is empty"),
        ({"window_seconds": 0}, "must be above zero"),
        ({"deadline_seconds": float("inf")}, "must be above zero"),
        ({"window_seconds": "soon"}, "setting 'providers'"),
        ({"kyes": {}}, "setting 'providers'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(SetupError) as refused:
        load_settings({"providers": {"acme": {**ACME, **changed}}})
    assert told in str(refused.value) and "a" * 31 not in str(refused.value)


@pytest.mark.parametrize("name", ["", "Acme", "a b", "a:b", "1a", "a" * 33, "é"])
def test_names_are_short_and_plain(name: str) -> None:
    with pytest.raises(SetupError, match="a provider's name"):
        load_settings({"providers": {name: ACME}})


def test_two_providers_never_share_a_secret() -> None:
    with pytest.raises(SetupError, match=r"other\.keys\.k1 is the same secret as providers\.acme\.keys\.k1"):
        load_settings({"providers": {"acme": ACME, "other": ACME}})


def test_the_environment_must_hold_an_object() -> None:
    for text in ("acme", "[]", '{"acme":5}'):
        with pytest.raises(SetupError, match="setting 'providers' from environment variable PALESTRA_PROVIDERS"):
            load_settings(environ={"PALESTRA_PROVIDERS": text})


def test_production_refuses_a_provider_that_may_call_from_anywhere() -> None:
    check_production(load_settings({**OWN, "providers": {"acme": ACME}}).settings)
    for network in ("0.0.0.0/0", "::/0"):
        loaded = load_settings({**OWN, "providers": {"acme": {**ACME, "allow_ips": [network]}}})
        with pytest.raises(SetupError, match=r"providers\.acme"):
            check_production(loaded.settings)


def test_config_shows_everything_but_the_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_settings(load_settings({"providers": {"acme": ACME}})) == 0
    shown = capsys.readouterr().out
    assert "a" * 32 not in shown
    rows = {line.split()[0]: line for line in shown.splitlines()}
    assert "k1 (hidden)" in rows["providers.acme.keys"] and "flag --providers" in rows["providers.acme.keys"]
    assert "10.0.0.0/8" in rows["providers.acme.allow_ips"]
    assert {f"providers.acme.{name}" for name in msgspec.structs.asdict(ProviderSettings(**ACME))} <= rows.keys()
