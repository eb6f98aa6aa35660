"""Arena's server side: a leaderboard, today's spark and a limit on saves; moves are relayed between the players."""

from __future__ import annotations

import datetime
import hashlib
from typing import Annotated

import msgspec

from palestra import Context, Game, GameError
from palestra.requests import StorageWrite

SAVE_BYTES_MAX = 2_048
SPARK_HUES = (45, 30, 60, 300)

game = Game("arena")

# Everything in `static/` is served under http://HOST:7350/play/, from the port the game itself uses: no CORS, no
# second server. A game with its own client (Unity, Godot …) simply leaves this line out.
game.static("/play", "static")


class Place(msgspec.Struct):
    """What the page asks with. A body that does not fit this shape is refused before our code runs."""

    room: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class DailySpark(msgspec.Struct):
    """What it gets back: the JSON keys are the field names."""

    worth: int
    hue: int


@game.on_start
async def start(ctx: Context) -> None:
    """Runs on every start, so what it does must be repeatable: creating a board that exists changes nothing."""
    # One record per player: the best one. It empties every Monday at midnight, UTC.
    await ctx.leaderboards.create("arena", sort="descending", operator="best", reset="0 0 * * 1")


@game.rpc
async def daily_spark(ctx: Context, request: Place) -> DailySpark:
    """The look and worth of the rare spark: the same for everybody in a room, another one each day.

    Players cannot choose it, because it is the server that answers; nothing is stored, because a digest of the day and
    the room gives the same answer on every node.
    """
    today = datetime.datetime.fromtimestamp(ctx.now(), datetime.UTC).date()
    digest = hashlib.sha256(f"{today}/{request.room}".encode()).digest()
    return DailySpark(worth=4 + digest[0] % 5, hue=SPARK_HUES[digest[1] % len(SPARK_HUES)])


@game.before("storage.write")
async def small_saves_only(ctx: Context, request: StorageWrite) -> StorageWrite:
    """Sees every write a client asks for before it happens: return it, changed or not, or raise to refuse."""
    if any(len(item.value.encode()) > SAVE_BYTES_MAX for item in request.objects):
        raise GameError(f"a save may hold {SAVE_BYTES_MAX} bytes", code="invalid_argument")
    return request
