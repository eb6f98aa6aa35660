"""Which of two nodes delivers what is sent to a session while it moves from the one to the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from palestra.gateway.operation import Session


class _Move:
    """`known` says since which moment here, by `Moves.now`, what a node sends is sent in the knowledge of the move."""

    __slots__ = ("known", "number", "out")

    def __init__(self, number: int, out: bool) -> None:
        self.number = number
        self.out = out
        self.known: dict[str, int] = {}

    def precedes(self, origin: str, at: int) -> bool:
        """Whether something was sent before its sender knew of the move."""
        known = self.known.get(origin)
        return known is None or at < known


class Moves:
    """The moves of the last moment, to and from this node. False when there are none, which is nearly always.

    What was sent before its sender knew of a move is delivered by the node that the session came from, what was sent
    after that by the one it has come to. This node is "" as a sender.
    """

    def __init__(self) -> None:
        self.now = 0
        self._moves: dict[str, _Move] = {}

    def __bool__(self) -> bool:
        return bool(self._moves)

    def begin(self, session_id: str, number: int, *, out: bool, knowing: Collection[str]) -> None:
        """A session goes, or has come; some nodes know already."""
        move = self._moves[session_id] = _Move(number, out)
        self.now += 1
        move.known = dict.fromkeys(knowing, self.now)

    def knows(self, session_id: str, number: int, node: str) -> None:
        """All that a node sends from now on is sent in the knowledge of a move."""
        move = self._moves.get(session_id)
        if move is not None and move.number == number:
            self.now += 1
            move.known.setdefault(node, self.now)

    def end(self, session_id: str, number: int) -> None:
        """Nothing from before a move is on its way any more."""
        move = self._moves.get(session_id)
        if move is not None and move.number == number:
            del self._moves[session_id]

    def concern(self, origin: str, at: int) -> bool:
        """Whether something of a node was sent before a move that it did not know of."""
        return any(move.precedes(origin, at) for move in self._moves.values())

    def missed(self, origin: str, at: int) -> Mapping[str, int]:
        """The sessions that have come and have this from their former node; each misses 1 envelope here."""
        return {one: 1 for one, move in self._moves.items() if not move.out and move.precedes(origin, at)}

    def owed(self, origin: str, at: int) -> Collection[str]:
        """The sessions that have gone and are to be sent this from here all the same."""
        return [one for one, move in self._moves.items() if move.out and move.precedes(origin, at)]

    def hears(self, session: Session, origin: str, at: int) -> bool:
        """Whether a session that is on no stream is sent this as one of this node."""
        move = self._moves.get(session.id)
        return not session.node and (move is None or not move.precedes(origin, at))
