"""A game module with functions that let an outside suite arrange what clients alone cannot: boards, wallets, bans."""

from __future__ import annotations

from typing import Any

import msgspec

from palestra import Context, Game, GameError, Match, MatchMessage, MatchPlayer, Stream
from palestra.matchmaking import Formed

game = Game("conformance")


class Refusal(msgspec.Struct):
    """What `conf_error` fails with."""

    message: str = ""
    code: int = 0


@game.rpc
async def conf_echo(ctx: Context, payload: str) -> str:
    """The payload, unchanged."""
    return payload


@game.rpc
async def conf_nothing(ctx: Context) -> None:
    """Nothing."""


@game.rpc
async def conf_error(ctx: Context, refusal: Refusal) -> None:
    """Fail as asked."""
    raise GameError(refusal.message, refusal.code)


class Known(msgspec.Struct):
    """What a function knows of its caller."""

    user_id: str
    username: str
    vars: dict[str, str]
    query: dict[str, list[str]]
    has_session: bool


@game.rpc
async def conf_context(ctx: Context) -> Known:
    """Tell what is known of the caller."""
    caller = ctx.caller
    return Known(
        user_id=caller.id if caller else "",
        username=caller.username if caller else "",
        vars=caller.vars if caller else {},
        query=ctx.query,
        has_session=ctx.session_id is not None,
    )


class Board(msgspec.Struct):
    """A leaderboard to make."""

    id: str
    authoritative: bool = False
    sort: str = "desc"
    operator: str = "best"
    reset: str = ""
    metadata: dict[str, Any] = {}
    enable_ranks: bool = True


class Made(msgspec.Struct):
    """The id of what was made."""

    id: str


@game.rpc
async def conf_create_leaderboard(ctx: Context, board: Board) -> Made:
    """Make a leaderboard; nothing if it exists."""
    await ctx.leaderboards.create(
        board.id,
        sort=board.sort,
        operator=board.operator,
        reset=board.reset or None,
        metadata=board.metadata,
        authoritative=board.authoritative,
        enable_ranks=board.enable_ranks,
    )
    return Made(board.id)


class Cup(Board):
    """A tournament to make; `start_in` and `end_in` are seconds from now."""

    duration: int = 3600
    title: str = ""
    description: str = ""
    category: int = 0
    start_in: float | None = None
    end_in: float | None = None
    max_size: int = 0
    max_num_score: int = 0
    join_required: bool = False


@game.rpc
async def conf_create_tournament(ctx: Context, cup: Cup) -> Made:
    """Make a tournament; nothing if it exists."""
    now = ctx.now()
    await ctx.tournaments.create(
        cup.id,
        duration_seconds=cup.duration,
        sort=cup.sort,
        operator=cup.operator,
        reset=cup.reset or None,
        start_time=0 if cup.start_in is None else now + cup.start_in,
        end_time=0 if cup.end_in is None else now + cup.end_in,
        title=cup.title,
        description=cup.description,
        category=cup.category,
        max_size=cup.max_size,
        max_num_score=cup.max_num_score,
        join_required=cup.join_required,
        metadata=cup.metadata,
        authoritative=cup.authoritative,
        enable_ranks=cup.enable_ranks,
    )
    return Made(cup.id)


class Score(msgspec.Struct):
    """A record to write."""

    id: str
    owner_id: str
    username: str = ""
    score: int = 0
    subscore: int = 0


@game.rpc
async def conf_write_leaderboard(ctx: Context, record: Score) -> None:
    """Write a record as the server."""
    await ctx.leaderboards.submit(record.id, record.owner_id, record.username, record.score, record.subscore)


class WalletRequest(msgspec.Struct):
    """A change of a wallet, the caller's by default."""

    changeset: dict[str, int]
    metadata: dict[str, Any] = {}
    user_id: str = ""


class WalletAnswer(msgspec.Struct):
    """The wallet before and after."""

    previous: dict[str, int]
    updated: dict[str, int]


@game.rpc
async def conf_wallet_change(ctx: Context, request: WalletRequest) -> WalletAnswer:
    """Change a wallet."""
    player = request.user_id or ctx.player.id
    previous = await ctx.wallet.get(player)
    change = await ctx.wallet.change(player, request.changeset, metadata=request.metadata)
    return WalletAnswer(dict(previous), {**previous, **change.updated})


class MetadataRequest(msgspec.Struct):
    """Metadata of a player, the caller by default."""

    metadata: dict[str, Any]
    user_id: str = ""


class Done(msgspec.Struct):
    """Nothing more to tell."""


@game.rpc
async def conf_set_metadata(ctx: Context, request: MetadataRequest) -> Done:
    """Replace a player's metadata."""
    await ctx.accounts.update(request.user_id or ctx.player.id, metadata=request.metadata)
    return Done()


class Notice(msgspec.Struct):
    """A notification to send, from the caller or from the system."""

    user_id: str
    subject: str
    content: dict[str, Any]
    code: int
    persistent: bool = False
    from_caller: bool = False


@game.rpc
async def conf_notify(ctx: Context, notice: Notice) -> Done:
    """Send a notification."""
    sender = ctx.player.id if notice.from_caller else ""
    await ctx.notifications.send(notice.user_id, notice.subject, notice.content, notice.code, sender, notice.persistent)
    return Done()


class Put(msgspec.Struct):
    """An object to write, the system's by default."""

    collection: str
    key: str
    value: dict[str, Any]
    permission_read: int = 1
    permission_write: int = 1
    user_id: str = "00000000-0000-0000-0000-000000000000"


@game.rpc
async def conf_storage_put(ctx: Context, put: Put) -> Done:
    """Write an object as the server."""
    await ctx.storage.put(
        put.collection,
        put.key,
        put.value,
        user_id=put.user_id,
        permission_read=put.permission_read,
        permission_write=put.permission_write,
    )
    return Done()


class Ban(msgspec.Struct):
    """Whom to ban, or to let in again."""

    user_id: str
    lift: bool = False


@game.rpc
async def conf_ban(ctx: Context, ban: Ban) -> Done:
    """Ban a player, or lift the ban."""
    await (ctx.accounts.unban if ban.lift else ctx.accounts.ban)([ban.user_id])
    return Done()


class StreamSend(msgspec.Struct):
    """A stream of mode 20, by its label, and what to send on it."""

    label: str
    data: str


@game.rpc
async def conf_stream_send(ctx: Context, request: StreamSend) -> Done:
    """Join the caller's socket to a stream and send to all who are on it."""
    if ctx.session_id is None:
        raise GameError("call this over a socket", "failed_precondition")
    stream = Stream(20, label=request.label)
    await ctx.streams.join(ctx.session_id, stream, persistence=False)
    await ctx.streams.send(stream, request.data)
    return Done()


class Count(msgspec.Struct):
    """How many are in a match."""

    members: int = 0


class NewMatch(msgspec.Struct):
    """The label of a match to begin."""

    label: str = ""


class MatchId(msgspec.Struct):
    """The id of a match."""

    match_id: str


class MatchSignal(msgspec.Struct):
    """Text for a match."""

    match_id: str
    data: str = ""


class SignalAnswer(msgspec.Struct):
    """The match's answer."""

    result: str


@game.match("conf_match", ticks_per_second=10)
class ConfMatch(Match[Count]):
    """Counts its members, and does what op codes ask for."""

    def init(self, params: NewMatch) -> Count:
        """Nobody is there; the label is as asked."""
        self.label = params.label
        return Count()

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
        """Refuse whoever asks for it."""
        if reason := metadata.get("refuse"):
            raise GameError(reason)

    def join(self, players: list[MatchPlayer]) -> None:
        """One more."""
        self.state.members += len(players)
        self.broadcast(100, str(self.state.members))

    def leave(self, players: list[MatchPlayer]) -> None:
        """One less."""
        self.state.members -= len(players)
        self.broadcast(101, str(self.state.members))

    def tick(self, messages: list[MatchMessage]) -> None:
        """Do as asked."""
        for message in messages:
            self._obey(message)

    def _obey(self, message: MatchMessage) -> None:
        match message.op_code:
            case 1:
                self.broadcast(1, message.data, sender=message.sender)
            case 2:
                self.broadcast(2, message.data, to=[message.sender])
            case 3:
                self.kick(message.sender)
            case 4:
                self.end()
            case 5:
                self.label = message.text()
                self.broadcast(5, "ok", to=[message.sender])
            case 6:
                self.broadcast(6, message.data, to=[])
                self.broadcast(7, message.data)
            case _:
                pass

    def signal(self, data: str) -> str:
        """The count, or an echo."""
        return str(self.state.members) if data == "count" else f"signal:{data}"


@game.rpc
async def conf_create_match(ctx: Context, request: NewMatch) -> MatchId:
    """Begin a match."""
    return MatchId(await ctx.matches.create("conf_match", request))


@game.rpc
async def conf_signal_match(ctx: Context, request: MatchSignal) -> SignalAnswer:
    """Signal a match."""
    return SignalAnswer(await ctx.matches.signal(request.match_id, request.data))


@game.matched
async def conf_matched(ctx: Context, match: Formed) -> str | None:
    """A match that the server decides for those who all ask for one."""
    if all(entry.properties.get("conf") == "authoritative" for entry in match.entries):
        return await ctx.matches.create("conf_match", NewMatch(label="matched"))
    return None
