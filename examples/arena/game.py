"""Arena's server side: it moves the discs, gives each spark to who touches it first, and keeps the leaderboard."""

from __future__ import annotations

import datetime
import hashlib
import math
from typing import Annotated

import msgspec

from palestra import Context, Game, GameError, Match, MatchMessage, MatchPlayer, quantised
from palestra.requests import StorageWrite

TICKS_PER_SECOND = 20
RUN_SECONDS = 60
WIDTH, HEIGHT, BORDER = 1800, 1200, 50  # in units; sparks keep off the border
DISC_RADIUS, SPARK_RADIUS, LUCKY_RADIUS = 22, 13, 19
THRUST, DRAG = 980, 2.1  # units per second², share per second
SPARKS, PLAYERS_MAX = 28, 16
HUES = (190, 222, 268, 318, 350, 24, 52, 145)
SPARK_HUES = (45, 30, 60, 300)
STEER, LOOK, BEGIN, END, FINISHED = 1, 2, 3, 4, 5  # op codes: the last is what the server says, the others players
RETRY_TICKS = 100
SAVE_BYTES_MAX = 2_048

game = Game("arena")

# Everything in `static/` is served under http://HOST:7350/play/, from the port the game itself uses: no CORS, no
# second server. A game with its own client (Unity, Godot …) simply leaves this line out.
game.static("/play", "static")

# The simulation is exact, clients are told tenths of a unit: that halves what a movement costs.
Place = Annotated[float, quantised(0.1)]
Speed = Annotated[float, quantised(1)]


class Disc(msgspec.Struct):
    session_id: str
    x: Place
    y: Place
    vx: Speed = 0.0
    vy: Speed = 0.0
    name: str = "Player"
    hue: int = HUES[0]
    score: int = 0
    seconds_left: int = 0
    """Of the run; 0 when there is none."""


class Spark(msgspec.Struct):
    x: Place = 0.0
    y: Place = 0.0
    lucky: bool = False
    taken: int = 0
    """How often the spark of this slot was; with `by` it tells clients what to celebrate."""
    by: str = ""


class Field(msgspec.Struct):
    """What all players see. Discs are named by seats, because keys travel with every change and ids are long."""

    worth: int
    discs: dict[str, Disc] = {}
    sparks: list[Spark] = []


class Steer(msgspec.Struct):
    dx: Annotated[float, msgspec.Meta(ge=-1, le=1)]
    dy: Annotated[float, msgspec.Meta(ge=-1, le=1)]


class Look(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(max_length=16)]
    hue: int


class Room(msgspec.Struct):
    """What the page asks with. A body that does not fit this shape is refused before our code runs."""

    room: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Entry(msgspec.Struct):
    """What it gets back: the JSON keys are the field names."""

    match_id: str
    worth: int
    hue: int


class Run(msgspec.Struct):
    """What the server alone knows of a disc."""

    player: MatchPlayer
    seat: str
    disc: Disc
    dx: float = 0.0
    dy: float = 0.0
    ends_at_tick: int = 0


class World(msgspec.Struct):
    """The whole state of a match: the field, which players see, and what is behind it."""

    field: Field
    runs: dict[str, Run] = {}
    """By session."""
    finished: dict[str, Run] = {}
    """By account: the best run that the leaderboard has not heard of."""
    retry_at_tick: int = 0


@game.match("arena", ticks_per_second=TICKS_PER_SECOND, sync="binary")
class Arena(Match[World]):
    def init(self, room: Room) -> World:
        self.label = label_of(room.room)
        field = Field(worth=daily_spark(self.now, room.room)[0], sparks=[Spark() for _ in range(SPARKS)])
        for spark in field.sparks:
            self.place(spark)
        return World(field)

    def view(self, player: MatchPlayer) -> Field:
        return self.state.field

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
        if self.player_count >= PLAYERS_MAX:
            raise GameError("the room is full")

    def join(self, players: list[MatchPlayer]) -> None:
        for player in players:
            seat = next(str(number) for number in range(PLAYERS_MAX) if str(number) not in self.state.field.discs)
            x, y = WIDTH * self.random.uniform(0.25, 0.75), HEIGHT * self.random.uniform(0.25, 0.75)
            disc = self.state.field.discs[seat] = Disc(player.session_id, x, y)
            self.state.runs[player.session_id] = Run(player, seat, disc)

    async def leave(self, players: list[MatchPlayer]) -> None:
        for player in players:
            run = self.state.runs.pop(player.session_id)
            self.end_run(run)
            del self.state.field.discs[run.seat]
        await self.hand_in()
        if not self.state.runs:
            self.end()

    async def tick(self, messages: list[MatchMessage]) -> None:
        for message in messages:
            if (run := self.state.runs.get(message.sender.session_id)) is not None:
                self.hear(run, message)
        for run in self.state.runs.values():
            running = self.tick_number < run.ends_at_tick
            glide(run.disc, run.dx * running, run.dy * running, 1 / TICKS_PER_SECOND)
            if running:
                run.disc.seconds_left = math.ceil((run.ends_at_tick - self.tick_number) / TICKS_PER_SECOND)
                self.collect(run.seat, run.disc)
            else:
                self.end_run(run)
        if self.state.finished and self.tick_number >= self.state.retry_at_tick:
            await self.hand_in()

    def hear(self, run: Run, message: MatchMessage) -> None:
        """Players may send anything: what is not of the shape is None, what does not fit the moment does nothing."""
        if message.op_code == STEER and (steer := message.json(Steer)):
            length = max(1.0, math.hypot(steer.dx, steer.dy))
            run.dx, run.dy = steer.dx / length, steer.dy / length
        elif message.op_code == LOOK and (look := message.json(Look)):
            run.disc.name = look.name.strip() or "Player"
            run.disc.hue = look.hue if look.hue in HUES else HUES[0]
        elif message.op_code == BEGIN and not run.disc.seconds_left:
            run.ends_at_tick = self.tick_number + RUN_SECONDS * TICKS_PER_SECOND
            run.disc.score, run.disc.seconds_left = 0, RUN_SECONDS
        elif message.op_code == END:
            self.end_run(run)

    def collect(self, seat: str, disc: Disc) -> None:
        for spark in self.state.field.sparks:
            reach = DISC_RADIUS + (LUCKY_RADIUS if spark.lucky else SPARK_RADIUS)
            if math.hypot(spark.x - disc.x, spark.y - disc.y) <= reach:
                disc.score += self.state.field.worth if spark.lucky else 1
                spark.taken, spark.by = spark.taken + 1, seat
                self.place(spark)

    def place(self, spark: Spark) -> None:
        spark.x = self.random.uniform(BORDER, WIDTH - BORDER)
        spark.y = self.random.uniform(BORDER, HEIGHT - BORDER)
        spark.lucky = self.random.random() < 0.12

    def end_run(self, run: Run) -> None:
        if run.disc.seconds_left:
            run.disc.seconds_left = run.ends_at_tick = 0
            best = self.state.finished.get(run.player.id)
            if run.disc.score > (best.disc.score if best else 0):
                # A copy: the disc may be in its next run before the score is handed in.
                self.state.finished[run.player.id] = Run(run.player, run.seat, msgspec.structs.replace(run.disc))

    async def hand_in(self) -> None:
        """Submit scores; what fails is kept for the next time."""
        for run in list(self.state.finished.values()):
            player, disc = run.player, run.disc
            look = {"name": disc.name, "hue": disc.hue}
            try:
                await self.ctx.leaderboards.submit("arena", player.id, player.username, disc.score, metadata=look)
            except Exception as error:
                self.log.warning("a score waits", reason=str(error))
                self.state.retry_at_tick = self.tick_number + RETRY_TICKS
                return
            del self.state.finished[player.id]
            self.broadcast(FINISHED, {"name": disc.name, "score": disc.score})


def glide(disc: Disc, dx: float, dy: float, seconds: float) -> None:
    """One step of gliding: thrust, drag, soft walls. The page does the same ahead of the server, in rules.js."""
    drag = math.exp(-DRAG * seconds)
    disc.vx = disc.vx * drag + dx * THRUST * seconds
    disc.vy = disc.vy * drag + dy * THRUST * seconds
    disc.x += disc.vx * seconds
    disc.y += disc.vy * seconds
    if not DISC_RADIUS <= disc.x <= WIDTH - DISC_RADIUS:
        disc.x, disc.vx = min(max(disc.x, DISC_RADIUS), WIDTH - DISC_RADIUS), -disc.vx * 0.6
    if not DISC_RADIUS <= disc.y <= HEIGHT - DISC_RADIUS:
        disc.y, disc.vy = min(max(disc.y, DISC_RADIUS), HEIGHT - DISC_RADIUS), -disc.vy * 0.6


def label_of(room: str) -> str:
    return f"arena/{room}"


def daily_spark(unix_seconds: float, room: str) -> tuple[int, int]:
    """(worth, hue) of the rare spark: the same for everybody in a room, another one each day.

    Nothing is stored, because a digest of the day and the room gives the same answer always.
    """
    today = datetime.datetime.fromtimestamp(unix_seconds, datetime.UTC).date()
    digest = hashlib.sha256(f"{today}/{room}".encode()).digest()
    return 4 + digest[0] % 5, SPARK_HUES[digest[1] % len(SPARK_HUES)]


@game.on_start
async def start(ctx: Context) -> None:
    """Runs on every start, so what it does must be repeatable: creating a board that exists changes nothing."""
    # One record per player: the best one. It empties every Monday at midnight, UTC. Only the server writes to it.
    await ctx.leaderboards.create("arena", sort="descending", operator="best", reset="0 0 * * 1", authoritative=True)


@game.rpc
async def enter(ctx: Context, request: Room) -> Entry:
    """The match of a room, begun by whoever comes first, and today's rare spark."""
    found = await ctx.matches.list(label=label_of(request.room), limit=1)
    match_id = found[0].match_id if found else await ctx.matches.create("arena", request)
    return Entry(match_id, *daily_spark(ctx.now(), request.room))


@game.before("storage.write")
async def small_saves_only(ctx: Context, request: StorageWrite) -> StorageWrite:
    """Sees every write a client asks for before it happens: return it, changed or not, or raise to refuse."""
    if any(len(item.value.encode()) > SAVE_BYTES_MAX for item in request.objects):
        raise GameError(f"a save may hold {SAVE_BYTES_MAX} bytes", code="invalid_argument")
    return request
