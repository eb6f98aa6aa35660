"""Settings: flag over environment over file over default, each with its source; what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from palestra.core.config import Settings, check_production, load_settings
from palestra.core.errors import SetupError
from palestra.core.social_settings import OpenIdSettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "palestra.toml"
    path.write_text('port = 1\nhost = "file"\nnode = "file"\n[session]\ntoken_seconds = 1\n[runtime.env]\na = "b"\n')
    return path


def test_flag_beats_environment_beats_file_beats_default_and_each_tells_its_source(file: Path) -> None:
    environ = {"PALESTRA_PORT": "2", "PALESTRA_HOST": "environment", "PALESTRA_SESSION_TOKEN_SECONDS": "2", "HOME": "/"}
    loaded = load_settings({"port": 3, "node": None, "console_port": None}, environ, file)
    settings = loaded.settings
    assert (settings.port, settings.host, settings.node, settings.console_port) == (3, "environment", "file", 7351)
    assert (settings.session.token_seconds, settings.runtime.env) == (2, {"a": "b"})
    assert loaded.sources == {
        "port": "flag --port",
        "host": "environment variable PALESTRA_HOST",
        "node": str(file),
        "session.token_seconds": "environment variable PALESTRA_SESSION_TOKEN_SECONDS",
        "runtime.env": str(file),
    }


def test_texts_of_the_environment_become_what_the_setting_is() -> None:
    settings = load_settings(
        environ={
            "PALESTRA_RELOAD": "true",
            "PALESTRA_DRAIN_SECONDS": "0",
            "PALESTRA_RUNTIME_ENV": "a=1, b=x=y",
            "PALESTRA_SOCKET_RESPONSE_HEADERS": "X-One=1,X-Two=2",
            "PALESTRA_NODE": "7",
            "PALESTRA_LOG_LEVEL": "debug",
        }
    ).settings
    assert (settings.reload, settings.drain_seconds, settings.node) == (True, 0.0, "7")
    assert settings.runtime.env == {"a": "1", "b": "x=y"}
    assert settings.socket.response_headers == ("X-One=1", "X-Two=2")
    assert settings.log.level == "debug"


def test_issuers_are_a_table_of_tables_in_the_file_and_json_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "palestra.toml"
    file.write_text('[social.oidc.own]\nissuer = "https://own.example"\naudiences = ["a"]\n')
    own = OpenIdSettings(issuer="https://own.example", audiences=("a",))
    assert load_settings(file=file).settings.social.oidc == {"own": own}
    text = '{"own": {"issuer": "https://own.example", "audiences": ["a"]}}'
    assert load_settings(environ={"PALESTRA_SOCIAL_OIDC": text}).settings.social.oidc == {"own": own}
    file.write_text('[social.oidc.own]\nissuer = "https://own.example"\naudience = ["a"]\n')
    with pytest.raises(SetupError, match=r"social\.oidc.*audience"):
        load_settings(file=file)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"PALESTRA_SESION_TOKEN_SECONDS": "1"}, "did you mean 'PALESTRA_SESSION_TOKEN_SECONDS'"),
        ({"PALESTRA_PORT": "many"}, "setting 'port' from environment variable PALESTRA_PORT"),
        ({"PALESTRA_RELOAD": "perhaps"}, "setting 'reload'"),
        ({"PALESTRA_LOG_LEVEL": "loud"}, "setting 'log.level'"),
        ({"PALESTRA_RUNTIME_ENV": "a"}, "write it as name=value"),
        ({"PALESTRA_SOCIAL_OIDC": "{own"}, "is not valid JSON"),
        ({"PALESTRA_SOCIAL_STEAM_APPID": "480"}, "did you mean 'PALESTRA_SOCIAL_STEAM_APP_ID'"),
        ({"PALESTRA_PORT": "70000"}, "at most 65535"),
        ({"PALESTRA_PORT": "-1"}, "must be above zero"),
        ({"PALESTRA_RUNTIME_HOOK_SECONDS_MAX": "0"}, "must be above zero"),
        ({"PALESTRA_RUNTIME_HOOK_SECONDS_MAX": "nan"}, "must be above zero"),
        ({"PALESTRA_SOCKET_READ_TIMEOUT_SECONDS": "inf"}, "must be above zero"),
        ({"PALESTRA_RUNTIME_HTTP_KEY": ""}, "is empty: anybody could guess that"),
        ({"PALESTRA_SESSION_ENCRYPTION_KEY": "defaultrefreshencryptionkey"}, "are the same"),
    ],
)
def test_what_cannot_be_is_refused_with_the_place_it_came_from(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SetupError) as refused:
        load_settings(environ=environ)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("prot = 1\n", "unknown setting 'prot'"),
        ("[sesion]\ntoken_seconds = 1\n", "did you mean 'session.token_seconds'"),
        ("session = 1\n", "unknown setting 'session'"),
        ('port = "x"\n', "setting 'port'"),
        ("port = \n", "is not valid TOML"),
    ],
)
def test_mistakes_in_the_file_name_the_file(tmp_path: Path, toml: str, told: str) -> None:
    file = tmp_path / "palestra.toml"
    file.write_text(toml)
    with pytest.raises(SetupError) as refused:
        load_settings(file=file)
    assert told in str(refused.value) and str(file) in str(refused.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("missing.toml", "binary.toml", "."):
        with pytest.raises(SetupError, match="settings file"):
            load_settings(file=tmp_path / name)


def test_production_names_every_default_secret_and_is_content_without_any() -> None:
    own = {
        "socket.server_key": "a",
        "runtime.http_key": "b",
        "session.encryption_key": "c",
        "session.refresh_encryption_key": "d",
    }
    with pytest.raises(SetupError) as refused:
        check_production(load_settings({key: own[key] for key in ("socket.server_key",)}).settings)
    text = str(refused.value)
    assert "socket.server_key" not in text and "PALESTRA_SOCKET_SERVER_KEY" not in text
    for key in list(own)[1:]:
        assert key in text and "PALESTRA_" + key.replace(".", "_").upper() in text
    check_production(load_settings(own).settings)
    with pytest.raises(SetupError):
        check_production(Settings())
    for section in ("social", "iap"):
        with pytest.raises(SetupError, match=f"{section}.loopback_http"):
            check_production(load_settings({**own, f"{section}.loopback_http": True}).settings)
