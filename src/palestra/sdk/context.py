"""What game code gets with every call: the caller, the platform's features, a logger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from palestra.core.errors import Code, GameError
from palestra.core.log import get_logger
from palestra.gateway.operation import Call
from palestra.sdk.jobs import GameJobs

if TYPE_CHECKING:
    from palestra.features.accounts.contract import Accounts, Users
    from palestra.features.chat.contract import Chat
    from palestra.features.events.contract import Events
    from palestra.features.fair.contract import Fair
    from palestra.features.friends.contract import Friends
    from palestra.features.groups.contract import Groups
    from palestra.features.leaderboards.contract import Leaderboards, Tournaments
    from palestra.features.ledger.contract import Ledger
    from palestra.features.limits.contract import Limits
    from palestra.features.matches.contract import Matches
    from palestra.features.matchmaker.contract import Matchmaking
    from palestra.features.notifications.contract import Notifications
    from palestra.features.parties.contract import Parties
    from palestra.features.providers.contract import Providers
    from palestra.features.purchases.contract import Purchases
    from palestra.features.rounds.contract import Rounds
    from palestra.features.sessions.contract import Sessions
    from palestra.features.status.contract import Statuses
    from palestra.features.storage.contract import Storage
    from palestra.features.streams.contract import Sockets, Streams
    from palestra.features.wallets.contract import Wallets
    from palestra.jobs.contract import Jobs


@dataclass(slots=True, frozen=True)
class Platform:
    """The features a game module can use, each through its contract."""

    accounts: Accounts
    users: Users
    sessions: Sessions
    storage: Storage
    leaderboards: Leaderboards
    tournaments: Tournaments
    ledger: Ledger
    limits: Limits
    wallet: Wallets
    matches: Matches
    matchmaker: Matchmaking
    parties: Parties
    sockets: Sockets
    status: Statuses
    streams: Streams
    friends: Friends
    groups: Groups
    chat: Chat
    fair: Fair
    notifications: Notifications
    rounds: Rounds
    events: Events
    providers: Providers
    purchases: Purchases
    jobs: Jobs
    env: Mapping[str, str]
    now: Callable[[], float]


class Player(msgspec.Struct, frozen=True):
    """Who is calling: user id, username as of log-in, session vars; the log-in's token id and its unix second."""

    id: str
    username: str
    vars: dict[str, str]
    token_id: str = ""
    logged_in_at: int = 0


class Context:
    """One call into game code. Cheap to make: everything is looked up when it is asked for."""

    __slots__ = ("_call", "_name", "_platform")

    def __init__(self, platform: Platform, call: Call | None, name: str) -> None:
        self._platform = platform
        self._call = call
        self._name = name

    @property
    def log(self) -> Any:
        """A structured logger: `ctx.log.info("claimed", coins=10)`."""
        return get_logger(self._name)

    # -- who calls, and how

    @property
    def caller(self) -> Player | None:
        """The player behind the call, None for calls with the http key and for the server's own work."""
        if self._call is None or self._call.caller is None:
            return None
        caller = self._call.caller
        return Player(caller.user_id, caller.username, dict(caller.vars), caller.token_id, caller.issued_at)

    @property
    def player(self) -> Player:
        """The player behind the call. Raises GameError (unauthenticated) when there is none."""
        player = self.caller
        if player is None:
            raise GameError("This function needs a player's session.", Code.UNAUTHENTICATED)
        return player

    @property
    def session_id(self) -> str | None:
        """The socket the call came over, None for HTTP."""
        session = self._call.session if self._call else None
        return session.id if session else None

    @property
    def language(self) -> str:
        """The language the socket was opened with, "en" by default."""
        session = self._call.session if self._call else None
        return session.language if session else "en"

    @property
    def client_ip(self) -> str:
        """Where the call came from, as text."""
        return self._call.client_ip if self._call else ""

    @property
    def query(self) -> dict[str, list[str]]:
        """Query parameters of an HTTP call, without the http key."""
        raw = self._call.query if self._call else b""
        found = parse_qs(raw.decode("latin-1"), keep_blank_values=True)
        found.pop("http_key", None)
        return found

    @property
    def headers(self) -> dict[str, list[str]]:
        """Headers of an HTTP call, names in lower case."""
        found: dict[str, list[str]] = {}
        for name, value in (self._call.headers if self._call else None) or ():
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        return found

    @property
    def operation(self) -> str:
        """The name of the operation being worked on, "" outside of one."""
        return self._call.operation.name if self._call else ""

    # -- the platform

    @property
    def accounts(self) -> Accounts:
        """Accounts: get, update, export, delete, ban."""
        return self._platform.accounts

    @property
    def users(self) -> Users:
        """Players as others see them."""
        return self._platform.users

    @property
    def sessions(self) -> Sessions:
        """Tokens: issue, verify, revoke."""
        return self._platform.sessions

    @property
    def storage(self) -> Storage:
        """Stored objects; the server may read and write everything."""
        return self._platform.storage

    @property
    def leaderboards(self) -> Leaderboards:
        """Leaderboards: create, submit, list."""
        return self._platform.leaderboards

    @property
    def tournaments(self) -> Tournaments:
        """Tournaments: create, join, submit, list."""
        return self._platform.tournaments

    @property
    def wallet(self) -> Wallets:
        """Wallets: read, change, hold."""
        return self._platform.wallet

    @property
    def ledger(self) -> Ledger:
        """The books behind the wallets: assets, accounts, entries of several steps."""
        return self._platform.ledger

    @property
    def limits(self) -> Limits:
        """What players may stake, lose, spend and play, and locks; set as the operator."""
        return self._platform.limits

    @property
    def matches(self) -> Matches:
        """Matches: create, get, signal, list."""
        return self._platform.matches

    @property
    def sockets(self) -> Sockets:
        """Open sockets: whose they are, send, close."""
        return self._platform.sockets

    @property
    def status(self) -> Statuses:
        """Statuses of players: follow, unfollow, update."""
        return self._platform.status

    @property
    def parties(self) -> Parties:
        """Parties: list."""
        return self._platform.parties

    @property
    def matchmaker(self) -> Matchmaking:
        """The matchmaker: figures, tickets, why one waits, players for running matches."""
        return self._platform.matchmaker

    @property
    def streams(self) -> Streams:
        """Streams of presences: join, update, leave, kick, look, send."""
        return self._platform.streams

    @property
    def friends(self) -> Friends:
        """Friendships."""
        return self._platform.friends

    @property
    def groups(self) -> Groups:
        """Groups and their members."""
        return self._platform.groups

    @property
    def chat(self) -> Chat:
        """Channels: write, change, remove, history."""
        return self._platform.chat

    @property
    def fair(self) -> Fair:
        """Provably fair draws."""
        return self._platform.fair

    @property
    def notifications(self) -> Notifications:
        """Notifications: send, list, change, delete."""
        return self._platform.notifications

    @property
    def rounds(self) -> Rounds:
        """Rounds: games for stakes, from the hold to the payout."""
        return self._platform.rounds

    @property
    def events(self) -> Events:
        """Events, handled in the background."""
        return self._platform.events

    @property
    def providers(self) -> Providers:
        """Third-party games: launch."""
        return self._platform.providers

    @property
    def purchases(self) -> Purchases:
        """Purchases in stores and subscriptions: validate, get, list."""
        return self._platform.purchases

    @property
    def jobs(self) -> GameJobs:
        """Durable jobs: put one of the game's into the queue."""
        return GameJobs(self._platform.jobs)

    @property
    def env(self) -> Mapping[str, str]:
        """Settings of the game itself, from `[runtime.env]`."""
        return self._platform.env

    def now(self) -> float:
        """Unix seconds, from the platform's clock: tests can move it."""
        return self._platform.now()
