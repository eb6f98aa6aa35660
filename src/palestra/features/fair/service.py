"""What can be done with fair draws; implements the contract's `Fair`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from palestra.core.clock import Clock, utc
from palestra.core.ids import new_id, parse_id
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.fair import rules
from palestra.features.fair.contract import (
    PAGE_SEEDS_MAX,
    BadPage,
    ClientSeedFixed,
    Commitment,
    Draw,
    HistoryPage,
    RevealedSeed,
    Rotation,
    RoundNotFound,
    RoundRevealed,
    SeedPair,
    Step,
    Verification,
)
from palestra.features.fair.rules import SeededDraw
from palestra.features.fair.store import ActiveSeeds, FairStore
from palestra.features.wallets.contract import HasId

T = TypeVar("T")


class FairService:
    """Fair draws for game code, for the endpoints and for rounds."""

    def __init__(self, store: FairStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # -- players

    async def draw(self, player: str | HasId, *, key: str | None = None) -> Draw:
        """See Fair.draw."""
        user_id = _id_of(player)
        if key is not None:
            rules.check_key(key)
            return await self._opened(user_id, lambda: self._store.take_keyed(user_id, key))
        return await self._opened(user_id, lambda: self._store.take(user_id))

    async def seeds(self, player: str | HasId) -> SeedPair:
        """See Fair.seeds."""
        user_id = _id_of(player)
        return _pair(await self._opened(user_id, lambda: self._store.read(user_id)))

    async def rotate(self, player: str | HasId, client_seed: str | None = None) -> Rotation:
        """See Fair.rotate."""
        if client_seed is not None:
            rules.check_client_seed(client_seed)
        user_id, at = _id_of(player), utc(self._clock.now())
        revealed, active = await self._opened(user_id, lambda: self._store.rotate(user_id, client_seed, at))
        return Rotation(revealed, _pair(active))

    async def _opened(self, user_id: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """What `look` finds, after making the player's first pair if it finds none. Raises AccountNotFound."""
        found = await look()
        if found is None:
            await self._store.open_player(user_id)
            found = await look()
        if found is None:
            # The pair went away with its player.
            raise AccountNotFound
        return found

    async def history(self, player: str | HasId, limit: int = PAGE_SEEDS_MAX, cursor: str = "") -> HistoryPage:
        """See Fair.history."""
        if not 1 <= limit <= PAGE_SEEDS_MAX:
            raise BadPage(f"A page of history has 1 to {PAGE_SEEDS_MAX} seeds.")
        # One more than asked for tells whether there is a next page.
        found = await self._store.past(_id_of(player), rules.position_of(cursor), limit + 1)
        after = rules.cursor_of(found[limit - 1].number) if len(found) > limit else ""
        return HistoryPage(tuple(found[:limit]), after)

    # -- rounds

    async def commit(self, round_id: str | None = None) -> Commitment:
        """See Fair.commit."""
        round_id = new_id() if round_id is None else round_id
        owner = rules.round_owner(round_id)
        await self._store.open_round(owner)
        active = await self._round(owner)
        return Commitment(round_id, active.commitment.hex())

    async def draw_round(self, round_id: str, client_seed: str) -> Draw:
        """See Fair.draw_round."""
        rules.check_client_seed(client_seed)
        owner = rules.round_owner(round_id)
        draw = await self._store.take(owner, client_seed)
        if draw is None:
            await self._round(owner)
            raise ClientSeedFixed
        return draw

    async def reveal(self, round_id: str) -> RevealedSeed:
        """See Fair.reveal."""
        revealed = await self._store.reveal(rules.round_owner(round_id), utc(self._clock.now()))
        if revealed is None:
            raise RoundNotFound
        return revealed

    async def _round(self, owner: str) -> ActiveSeeds:
        """The row of a round that can be drawn from. Raises RoundNotFound, RoundRevealed."""
        active = await self._store.read(owner)
        if active is None:
            raise RoundNotFound
        if active.sealed is None:
            raise RoundRevealed
        return active

    # -- afterwards

    def replay(self, server_seed: str, client_seed: str, nonce: int) -> SeededDraw:
        """See Fair.replay."""
        seed = rules.server_seed_of(server_seed)
        rules.check_client_seed(client_seed)
        rules.check_nonce(nonce)
        return SeededDraw(seed, client_seed, nonce, rules.commitment_of(seed).hex())

    def verify(self, server_seed: str, client_seed: str, nonce: int, steps: Sequence[Step]) -> Verification:
        """See Fair.verify."""
        draw = self.replay(server_seed, client_seed, nonce)
        return Verification(draw.commitment, rules.values_of(draw, steps))


def _pair(active: ActiveSeeds) -> SeedPair:
    following, client_seed = active.next_commitment, active.client_seed
    if following is None or client_seed is None:
        raise RuntimeError("a player's row without its next seed")
    return SeedPair(active.number, active.commitment.hex(), following.hex(), client_seed, active.nonce)


def _id_of(player: str | HasId) -> str:
    try:
        return parse_id(player if isinstance(player, str) else player.id)
    except ValueError:
        raise AccountNotFound from None
