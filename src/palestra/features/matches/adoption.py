"""What becomes of the matches of a node that died: those with a checkpoint go on elsewhere, the others are over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks
from palestra.features.matches.actor import DISCONNECTED, Actor
from palestra.features.matches.checkpoints import Checkpoints
from palestra.features.matches.contract import CannotMove
from palestra.features.matches.directory import Directory, OtherMatch
from palestra.features.matches.handover import SNAPSHOT_BYTES_MAX
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.snapshot import decode_snapshot, encode
from palestra.features.matches.steps import player_of
from palestra.features.streams.contract import Presences

TURN_SECONDS = 1.0
"""How long each survivor has to adopt a match before the next one tries."""
TURNS_MAX = 3

log = get_logger(__name__)


class Adoption:
    """Implements `Keeper`. Survivors take the matches of a dead node by turns: each match has an order of its own.

    The checkpoint says who adopted it, so there is one. Members of a match that nobody goes on with are disconnected by
    their own nodes, as those of a match that failed.
    """

    def __init__(
        self,
        cluster: Cluster,
        presences: Presences,
        directory: Directory,
        running: RunningMatches,
        checkpoints: Checkpoints | None,
        tasks: Tasks,
    ) -> None:
        self._node = cluster.node
        self._members = cluster.members
        self._presences = presences
        self._directory = directory
        self._running = running
        self.checkpoints = checkpoints
        self._tasks = tasks
        self._unwritable: set[str] = set()
        self._members.on_leave(self._node_gone)
        if checkpoints is not None:
            running.keeper = self

    # -- while all is well

    def keep(self, actor: Actor) -> None:
        """Keep what there is of a match now."""
        assert self.checkpoints is not None
        match = actor.stream.subject
        try:
            snapshot = encode(actor.snapshot())
            if len(snapshot) > SNAPSHOT_BYTES_MAX:
                raise CannotMove(f"its snapshot has {len(snapshot)} bytes, at most {SNAPSHOT_BYTES_MAX} are kept")
        except CannotMove as error:
            if match not in self._unwritable:
                self._unwritable.add(match)
                log.warning("match has no checkpoint", match_id=actor.desk.id, reason=error.message)
            return
        self.checkpoints.keep(match, snapshot)

    def forget(self, match: str) -> None:
        """A match has ended."""
        assert self.checkpoints is not None
        self._unwritable.discard(match)
        self.checkpoints.forget(match)

    async def forgotten(self, actor: Actor) -> None:
        """Forget a match of this node, and wait until that is done."""
        assert self.checkpoints is not None
        if actor.checkpoint_ticks:
            self.forget(actor.stream.subject)
            await self.checkpoints.written(actor.stream.subject)

    def measure(self, metrics: Metrics) -> None:
        """Show how checkpoints are kept."""
        assert self.checkpoints is not None
        self.checkpoints.measure(metrics)

    # -- when a node has gone

    def _node_gone(self, info: NodeInfo) -> None:
        lost = self._directory.lost(info.name)
        kept = [one for one in lost if one.checkpointed] if self.checkpoints is not None else []
        self._end(one for one in lost if not kept or not one.checkpointed)
        if kept:
            owner = owner_of(info.name, info.epoch)
            self._tasks.spawn(self._adopt_by_turns(kept, owner), f"matches of {info.name}")

    async def _adopt_by_turns(self, matches: list[OtherMatch], owner: str) -> None:
        for turn in range(TURNS_MAX):
            for match in matches:
                if self._turns(match)[turn : turn + 1] == [self._node] and self._orphaned(match):
                    await self._adopt(match, owner)
            await asyncio.sleep(TURN_SECONDS)
        self._end(match for match in matches if self._orphaned(match))

    def _turns(self, match: OtherMatch) -> list[str]:
        """The nodes that live, in this match's order. Nodes see the same but for moments: the checkpoint decides."""
        nodes = [info.name for info in (self._members.me(), *self._members) if info.serves and not info.draining]
        return sorted(nodes, key=lambda node: blake2b(f"{match.stream.subject} {node}".encode()).digest())

    def _orphaned(self, match: OtherMatch) -> bool:
        subject = match.stream.subject
        return subject not in self._directory.own and subject not in self._directory.others

    async def _adopt(self, match: OtherMatch, owner: str) -> None:
        assert self.checkpoints is not None
        kept = await self.checkpoints.adopt(match.stream.subject, owner)
        if kept is None:
            return
        try:
            actor = self._running.restored(decode_snapshot(kept))
        except (msgspec.DecodeError, PalestraError) as error:
            log.error("match cannot be adopted", match_id=match.desk.id, reason=str(error))
            return
        self._running.admit(actor)
        meet_members(actor, self._presences)
        self._running.moves["adopted"] += 1
        log.info("match adopted", match=actor.desk.name, match_id=actor.desk.id, before=match.desk.node)

    def _end(self, matches: Iterable[OtherMatch]) -> None:
        for match in matches:
            log.warning("match is lost", match_id=match.desk.id, other=match.desk.node)
            for member in list(self._presences.audience(match.stream).values()):
                if not member.node:
                    member.session.close(DISCONNECTED)


def owner_of(node: str, epoch: int) -> str:
    """How a checkpoint names the node that has the match."""
    return f"{node}:{epoch}"


def meet_members(actor: Actor, presences: Presences) -> None:
    """Tell a match that goes on from an older snapshot who has gone since, and who has come."""
    members = {one: member for one, member in presences.audience(actor.stream).items() if not member.session.closing}
    for session_id in [one for one in actor.desk.players if one not in members]:
        actor.depart(session_id, "disconnect")
    for member in members.values():
        actor.arrive(player_of(member.session))
