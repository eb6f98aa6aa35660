"""What is measured, against which floor, and the goals."""

from __future__ import annotations

from dataclasses import dataclass

from bench import cluster

HTTP, COMMITS = "asgi", "pgbench"


@dataclass(frozen=True)
class Workload:
    """An HTTP workload of bench/lua/requests.lua. `goal` is the least ratio to the floor that we want, 0 for none.

    With `signed`, its unit is a round of a third party: a signed debit and a signed credit.
    With `callers`, it is one of the ledger engine without a node: that many at once, all on one account if it is `hot`.
    """

    name: str
    floor: str
    goal: float = 0.0
    signed: bool = False
    callers: int = 0
    hot: bool = False
    p99_ms_max: float = 0.0
    at_size: bool = False
    """One of bench/lua/population.lua, on a node with a population."""

    @property
    def asks_postgres(self) -> bool:
        """Whether its work is PostgreSQL's as well, so that PostgreSQL's CPU time is of interest."""
        return self.at_size or self.floor == COMMITS


@dataclass(frozen=True)
class RelayLoad:
    """Relayed matches. `goal_us` is the most CPU per delivered message. With `protobuf`, the sockets speak that."""

    matches: int
    players: int
    rate: int
    goal_us: float
    protobuf: bool = False

    @property
    def name(self) -> str:
        """As shown: relay_20x10x40."""
        return f"relay_{'protobuf_' if self.protobuf else ''}{self._size}"

    @property
    def floor(self) -> str:
        """The name of the same load on the bare relay; for Protobuf that on the node in JSON."""
        return f"{'json' if self.protobuf else 'picows'}_{self._size}"

    @property
    def _size(self) -> str:
        return f"{self.matches}x{self.players}x{self.rate}"


@dataclass(frozen=True)
class MatchLoad:
    """Authoritative matches that tick `rate` times a second, whose players each send as often."""

    matches: int
    players: int
    rate: int

    @property
    def name(self) -> str:
        """As shown: authoritative_100x10x20."""
        return f"authoritative_{self.matches}x{self.players}x{self.rate}"


@dataclass(frozen=True)
class CrowdLoad:
    """One player who is heard by a crowd. `goal_us` is the most CPU per envelope that reached a listener."""

    name: str
    kind: str
    listeners: int
    rate: int
    goal_us: float


WORKLOADS = (
    Workload("healthcheck", HTTP),
    Workload("account", HTTP, 0.48),
    Workload("auth_existing", HTTP, 0.36),
    Workload("leaderboard_list", HTTP, 0.40),
    Workload("rpc_echo", HTTP, 0.55),
    Workload("auth_new", COMMITS, 1.0),
    Workload("storage_write", COMMITS, 1.7),
    Workload("leaderboard_write", COMMITS, 2.2),
    Workload("rpc_wallet", COMMITS, 1.7),
    Workload("round_signed", COMMITS, 0.5, signed=True),
    Workload("ledger_64", COMMITS, 5.0, callers=64, p99_ms_max=10.0),
    Workload("ledger_4096", COMMITS, 8.0, callers=4_096),
    Workload("ledger_hot_64", COMMITS, 3.0, callers=64, hot=True),
    Workload("ledger_hot_4096", COMMITS, 3.0, callers=4_096, hot=True),
)
READ_AT_SIZE, WRITTEN_AT_SIZE = 0.25, 1.0
"""The goals of every endpoint that reads, and of every one that writes a row."""
POPULATION = (
    *(
        Workload(name, HTTP, READ_AT_SIZE, at_size=True)
        for name in (
            "account",
            "users_by_id",
            "users_by_name",
            "users_20",
            "friends_list",
            "friends_list_all",
            "friends_of_friends",
            "groups_list",
            "groups_by_name",
            "group_users",
            "user_groups",
            "notifications_list",
            "chat_history",
            "storage_read",
            "storage_list",
            "storage_list_public",
            "board_list",
            "board_rank",
            "board_around",
            "tournaments_list",
            "tournament_records",
            "matches_list",
            "subscriptions_list",
        )
    ),
    *(
        Workload(name, COMMITS, WRITTEN_AT_SIZE, at_size=True)
        for name in (
            "account_update",
            "friend_add",
            "group_join",
            "notification_send",
            "notification_delete",
            "chat_send",
            "storage_write",
            "board_write",
            "board_write_small",
            "tournament_join",
            "tournament_submit",
        )
    ),
)
BOARD = "board"
"""The leaderboards service alone, on boards of a thousand and of a million owners."""
BOARD_MS_MAX = 1.0
BOARD_WRITE_RATIO_MAX = 1.3
RELAYS = (
    RelayLoad(20, 10, 40, 4.8),
    RelayLoad(100, 10, 4, 5.4),
    RelayLoad(20, 10, 40, 7.2, protobuf=True),
)
CROWDS = (
    CrowdLoad("chat_room_5000", "chat", 5_000, 20, 3.5),
    CrowdLoad("status_fanout_1000", "status", 1_000, 20, 6.0),
)
MATCHES = (MatchLoad(100, 10, 20),)
LATE_P99_MS_MAX = 2.0
MATCHES_CPU_PERCENT_MAX = 60.0
RELAY_P99_MS_MAX = 2.0
RELAY_DELIVERED_PERCENT_MIN = 99.9
IDLE_EACH_KIB_MAX = 10.0
STORM_CPU_SECONDS_MAX = 2.0
IDLE_PROCESS_MIB_MAX = 110.0
READY_FIRST_SECONDS_MAX = 4.0
READY_AGAIN_SECONDS_MAX = 2.0

TICKETS_WAIT_MS_MAX = 1_000.0
TICKETS_PAUSE_MS_MAX = 20.0

PLAYERS = 500
BOARD_ROWS = 20
CLUSTER_CPU_RATIO_MAX = 1.15
CLUSTER_RELAY_CPU_RATIO_MAX = 2.0
CLUSTER_RELAY_P99_MS_MAX = 5.0
CLUSTER_PRESENCE_SECONDS_MAX = 2.0
CACHE_HIT_US_MAX = 2.0
STAMPEDE_QUERIES_MAX = 1.0

CACHES = ("cache_hit", "cache_stampede")
OTHERS = ("idle", "ready", "costs", "state", "matchmaker_10000", "resume_storm", *CACHES, *cluster.ALL)


def all_names(population: bool = False) -> list[str]:
    """Every name that can be asked for, of the bench at size or of the plain one."""
    if population:
        return [*(w.name for w in POPULATION), BOARD]
    return [*(one.name for kind in (WORKLOADS, RELAYS, CROWDS, MATCHES) for one in kind), *OTHERS]


def choose(asked: list[str], population: bool = False) -> set[str]:
    """The names that begin with one of `asked`; all of them when nothing is asked. Raises KeyError."""
    chosen: set[str] = set()
    for start in asked or [""]:
        found = [name for name in all_names(population) if name.startswith(start)]
        if not found:
            raise KeyError(start)
        chosen.update(found)
    return chosen
