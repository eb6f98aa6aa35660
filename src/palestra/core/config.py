"""Settings: every knob of a node with its default and unit, read from flags, environment and file, in that order."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_origin

import msgspec

from palestra.core.errors import SetupError
from palestra.core.iap_settings import IapSettings
from palestra.core.provider_settings import ProviderSettings, check_providers, open_to_all
from palestra.core.social_settings import SocialSettings


class SessionSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[session]`: tokens."""

    token_seconds: int = 3600
    refresh_token_seconds: int = 7 * 24 * 3600
    encryption_key: str = "defaultencryptionkey"
    refresh_encryption_key: str = "defaultrefreshencryptionkey"
    single_socket: bool = False
    single_party: bool = False


class ResumeSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[resume]`: sessions that have lost their connection. What a feature does not say is as long as `seconds`."""

    seconds: float = 15.0
    match_seconds: float | None = None
    party_seconds: float | None = None
    matchmaker_seconds: float | None = None
    status_seconds: float | None = None
    chat_seconds: float | None = None
    queue_max: int = 1_024
    queue_bytes_max: int = 262_144
    sessions_per_user_max: int = 8
    replay_max: int = 256
    replay_bytes_max: int = 65_536


class SocketSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[socket]`: what clients may send and how long we wait for them."""

    server_key: str = "defaultkey"
    request_bytes_max: int = 262_144
    header_bytes_max: int = 9_216
    read_timeout_seconds: float = 10.0
    write_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 60.0
    message_bytes_max: int = 4_096
    ping_period_seconds: float = 15.0
    pong_wait_seconds: float = 25.0
    ping_backoff_messages: int = 20
    write_wait_seconds: float = 5.0
    close_ack_wait_seconds: float = 2.0
    outgoing_queue_max: int = 64
    outgoing_bytes_max: int = 1_048_576
    outgoing_seconds_max: float = 10.0
    held_bytes_max: int = 268_435_456
    incoming_queue_max: int = 256
    connections_max: int = 50_000
    requests_in_flight_max: int = 4_096
    proxy_count: int = 0
    proxy_protocol: bool = False
    response_headers: tuple[str, ...] = ()
    protobuf_party: Literal["legacy", "current"] = "legacy"


class RuntimeSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[runtime]`: game code."""

    http_key: str = "defaulthttpkey"
    hook_seconds_max: float = 10.0
    event_queue_max: int = 65_536
    env: dict[str, str] = {}


class MatchSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[match]`: authoritative matches."""

    running_max: int = 10_000
    input_queue_max: int = 128
    call_queue_max: int = 128
    join_attempt_queue_max: int = 128
    signal_queue_max: int = 10
    deferred_queue_max: int = 128
    max_empty_seconds: int = 0
    record_dir: str = ""
    record_bytes_max: int = 67_108_864
    record_files_max: int = 1_000
    record_hash_ticks: int = 10


class DatabaseSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[database]`: PostgreSQL."""

    direct_url: str = ""
    replica_urls: tuple[str, ...] = ()
    replica_lag_seconds_max: float = 2.0
    pool_connections_max: int = 8
    batch_rows_max: int = 500
    batch_queue_max: int = 20_000
    key_ring_file: str = ""


class LimitSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[limits]`: what players may stake, lose, spend and play. `defaults` are texts such as `loss/24h/EUR=50000`."""

    defaults: tuple[str, ...] = ()
    increase_after_seconds: int = 86_400


class PartySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[party]`: parties."""

    per_session_max: int = 64


class JobSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[jobs]`: durable jobs."""

    worker: bool = True
    concurrency_max: int = 8
    poll_seconds: float = 5.0
    heartbeat_timeout_seconds: float = 30.0
    log_keep_days: int = 7
    failed_keep_days: int = 30


class MatchmakerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[matchmaker]`: who waits for a match, and how long for the largest one."""

    max_tickets: int = 3
    mode: Literal["immediate", "interval"] = "immediate"
    interval_seconds: float = 15.0
    max_intervals: int = 2
    mutual_acceptance: bool = True


class ClusterSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[cluster]`: several nodes. Without `bus_url` the bus is at `redis_url`."""

    name: str = "palestra"
    bus_url: str = ""
    beat_seconds: float = 0.5
    dead_seconds: float = 4.0


class CacheSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[cache]`: what is kept of the database; limits are those of each cache. `memcached`: such as `host:11211`."""

    seconds: float = 60.0
    absent_seconds: float = 5.0
    page_seconds: float = 2.0
    entries_max: int = 100_000
    bytes_max: int = 134_217_728
    memcached: tuple[str, ...] = ()


class LogSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[log]`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    text: bool = False


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Everything a node is told. Top-level keys are also flags of `palestra run`."""

    host: str = "127.0.0.1"
    port: int = 7350
    console_port: int = 7351
    data_dir: str = ".palestra"
    database_url: str = ""
    redis_url: str = ""
    node: str = "palestra"
    workers: int = 1
    reload: bool = False
    production: bool = False
    notice_seconds: float = 0.0
    drain_seconds: float = 5.0
    session: SessionSettings = SessionSettings()
    resume: ResumeSettings = ResumeSettings()
    socket: SocketSettings = SocketSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    match: MatchSettings = MatchSettings()
    database: DatabaseSettings = DatabaseSettings()
    limits: LimitSettings = LimitSettings()
    party: PartySettings = PartySettings()
    jobs: JobSettings = JobSettings()
    matchmaker: MatchmakerSettings = MatchmakerSettings()
    social: SocialSettings = SocialSettings()
    iap: IapSettings = IapSettings()
    cluster: ClusterSettings = ClusterSettings()
    cache: CacheSettings = CacheSettings()
    log: LogSettings = LogSettings()
    providers: dict[str, ProviderSettings] = {}


PREFIX = "PALESTRA_"
FILE_NAME = "palestra.toml"
SECRETS = (
    ("socket.server_key", "defaultkey"),
    ("runtime.http_key", "defaulthttpkey"),
    ("session.encryption_key", "defaultencryptionkey"),
    ("session.refresh_encryption_key", "defaultrefreshencryptionkey"),
)
HIDDEN = (
    "runtime.env",
    "database.replica_urls",
    "social.facebook.app_secret",
    "social.facebook_instant.app_secret",
    "social.steam.publisher_key",
    "iap.apple.shared_password",
    "iap.google.private_key",
    "iap.huawei.client_secret",
    "iap.facebook_instant.app_secret",
)
"""Keys that may hold secrets and have none by default; `palestra config` hides them too."""
MAY_BE_ZERO = frozenset(
    (
        *("port", "console_port", "notice_seconds", "drain_seconds", "socket.proxy_count", "match.max_empty_seconds"),
        *("resume.seconds", "resume.match_seconds", "resume.party_seconds"),
        *("cache.seconds", "cache.absent_seconds", "cache.page_seconds"),
        *("resume.matchmaker_seconds", "resume.status_seconds", "resume.chat_seconds"),
    )
)
"""All other numbers are limits and times that must be above zero."""
PORT_MAX = 65_535
TABLES = ("runtime.env", "social.oidc", "providers")
"""Settings that are tables whose keys are not ours."""


class LoadedSettings(msgspec.Struct, frozen=True):
    """Settings and, for every dotted key that is not a default, where its value came from."""

    settings: Settings
    sources: dict[str, str]


def keys(kind: type[msgspec.Struct] = Settings, prefix: str = "") -> dict[str, type]:
    """Every settings key in dotted form, with its type."""
    found: dict[str, type] = {}
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found.update(keys(field.type, f"{prefix}{field.name}."))
        else:
            found[prefix + field.name] = field.type
    return found


def load_settings(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> LoadedSettings:
    """Merge flags (dotted key → value) over environment over file over defaults.

    Raises SetupError, naming the key, its place and what was expected, when something is misspelt, of a wrong type,
    or of no use.
    """
    known = keys()
    values: dict[str, tuple[Any, str]] = {}
    if file is not None:
        for key, value in _flatten(_read_toml(file)):
            values[key] = (value, str(file))
    by_variable = {PREFIX + key.replace(".", "_").upper(): key for key in known}
    for name, text in (environ or {}).items():
        if name.startswith(PREFIX):
            if name not in by_variable:
                raise SetupError(f"environment variable {name} is no setting{_nearest(name, by_variable)}")
            values[by_variable[name]] = (text, f"environment variable {name}")
    for key, value in (flags or {}).items():
        if value is not None:
            values[key] = (value, f"flag --{key.replace('_', '-')}")
    tree: dict[str, Any] = {}
    for key, (value, source) in values.items():
        if key not in known:
            raise SetupError(f"unknown setting {key!r} in {source}{_nearest(key, known)}")
        place = tree
        *sections, last = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = _converted(key, value, known[key], source)
    loaded = LoadedSettings(msgspec.convert(tree, Settings), {key: source for key, (_, source) in values.items()})
    _check_values(loaded)
    return loaded


def _check_values(loaded: LoadedSettings) -> None:
    flat = dict(_flatten(msgspec.to_builtins(loaded.settings)))
    for key, value in flat.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        expected = "" if 0 < value < math.inf or (value == 0 and key in MAY_BE_ZERO) else "must be above zero"
        if key in ("port", "console_port") and value > PORT_MAX:
            expected = f"must be at most {PORT_MAX}"
        if key == "jobs.concurrency_max" and value < 2:
            expected = "must be at least 2"
        if expected:
            source = loaded.sources.get(key, "default")
            raise SetupError(f"setting {key!r} from {source}: {value} {expected}")
    for key, _ in SECRETS:
        if not flat[key]:
            raise SetupError(f"setting {key!r} from {loaded.sources[key]} is empty: anybody could guess that")
    if flat["session.encryption_key"] == flat["session.refresh_encryption_key"]:
        raise SetupError(
            "session.encryption_key and session.refresh_encryption_key are the same: "
            "every refresh token would be a session token. Make them differ."
        )
    check_providers(loaded.settings.providers)


def default_secrets(settings: Settings) -> list[str]:
    """The keys of secrets that everybody knows."""
    flat = dict(_flatten(msgspec.to_builtins(settings)))
    return [key for key, known in SECRETS if flat[key] == known]


def check_production(settings: Settings) -> None:
    """Refuse to run on a secret that everybody knows, or to believe whatever listens on this machine."""
    for section, allowed in (("social", settings.social.loopback_http), ("iap", settings.iap.loopback_http)):
        if allowed:
            raise SetupError(f"production mode refuses {section}.loopback_http: it is for tests with a fake provider.")
    default = default_secrets(settings)
    if default:
        variables = ", ".join(PREFIX + key.replace(".", "_").upper() for key in default)
        raise SetupError(
            f"production mode refuses default secrets: {', '.join(default)}.\n"
            f"Set each to a random text of your own, in {FILE_NAME} or as {variables}."
        )
    if exposed := open_to_all(settings.providers):
        raise SetupError(f"production mode refuses allow_ips that admit every address: providers.{exposed[0]}")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise SetupError(f"there is no settings file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"the settings file {file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{file} is not valid TOML: {error}") from None


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and prefix + key not in TABLES:
            flat.extend(_flatten(value, f"{prefix}{key}."))
        else:
            flat.append((prefix + key, value))
    return flat


def _converted(key: str, value: Any, kind: Any, source: str) -> Any:
    if isinstance(value, str) and get_origin(kind) in (tuple, dict):
        # Lists and tables come from the environment as comma-separated texts: `a=1,b=2`; tables of tables as JSON.
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if get_origin(kind) is dict and value.startswith("{"):
            try:
                value = msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise SetupError(f"setting {key!r} from {source} is not valid JSON: {error}") from None
        elif get_origin(kind) is tuple:
            value = parts
        elif all("=" in part for part in parts):
            value = dict(part.split("=", 1) for part in parts)
        else:
            raise SetupError(f"setting {key!r} from {source}: write it as name=value,name=value")
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SetupError(f"setting {key!r} from {source}: {error}") from None


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
