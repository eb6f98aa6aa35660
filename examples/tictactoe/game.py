"""Tic-tac-toe: two seats, nine cells, and a server that knows the rules."""

from __future__ import annotations

from typing import Annotated

import msgspec

from palestra import Context, Game, GameError, Match, MatchMessage, MatchPlayer

LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
PLACE, AGAIN = 1, 2  # op codes of what players send
OPEN = "tictactoe.open"  # the label of a match with a free seat

game = Game("tictactoe")
game.static("/tictactoe", "static")


class Board(msgspec.Struct):
    """What both players see."""

    seats: dict[str, str] = {}  # "x" and "o" -> who plays it, by session
    cells: list[str] = msgspec.field(default_factory=lambda: [""] * 9)
    turn: str = "x"
    over: str = ""  # "x" or "o" won, or it is a "draw"


class Place(msgspec.Struct):
    cell: Annotated[int, msgspec.Meta(ge=0, le=8)]


class Table(msgspec.Struct):
    match_id: str


@game.match("tictactoe", ticks_per_second=10, sync="json")
class TicTacToe(Match[Board]):
    def init(self) -> Board:
        self.label = OPEN
        return Board()

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
        if self.player_count == 2:
            raise GameError("both seats are taken")

    def join(self, players: list[MatchPlayer]) -> None:
        for player in players:
            self.state.seats["o" if "x" in self.state.seats else "x"] = player.session_id
        self.label = "" if self.player_count == 2 else OPEN

    def leave(self, players: list[MatchPlayer]) -> None:
        left = {player.session_id for player in players}
        self.state = Board({seat: who for seat, who in self.state.seats.items() if who not in left})
        self.label = OPEN
        if not self.players:
            self.end()

    def tick(self, messages: list[MatchMessage]) -> None:
        for message in messages:
            board = self.state
            if message.op_code == AGAIN and board.over:
                self.state = Board(board.seats, turn="x" if board.turn == "o" else "o")
            elif message.op_code == PLACE and (place := message.json(Place)):
                self.place(message.sender, place.cell)

    def place(self, player: MatchPlayer, cell: int) -> None:
        board = self.state
        theirs = len(board.seats) == 2 and board.seats[board.turn] == player.session_id
        if not theirs or board.over or board.cells[cell]:
            return
        board.cells[cell] = board.turn
        if any(all(board.cells[one] == board.turn for one in line) for line in LINES):
            board.over = board.turn
        elif all(board.cells):
            board.over = "draw"
        else:
            board.turn = "o" if board.turn == "x" else "x"


@game.rpc
async def find_game(ctx: Context) -> Table:
    """A match with a free seat, begun if there is none."""
    waiting = await ctx.matches.list(label=OPEN, limit=1)
    return Table(waiting[0].match_id if waiting else await ctx.matches.create("tictactoe"))
