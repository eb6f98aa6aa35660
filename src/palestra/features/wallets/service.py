"""What can be done with wallets, by way of the ledger; implements the contract's `Wallets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from palestra.core.clock import Clock
from palestra.core.ids import parse_id
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger import contract as ledger
from palestra.features.ledger.contract import (
    Entry,
    Hold,
    Ledger,
    Line,
    LineKind,
    Owner,
    OwnerKind,
    Post,
    Receipt,
    Transfer,
    Void,
)
from palestra.features.wallets import rules
from palestra.features.wallets.contract import (
    HOLD_SECONDS,
    HOLD_SECONDS_MAX,
    PAGE_ENTRIES_MAX,
    BadChange,
    ChangeConflict,
    HasId,
    InsufficientFunds,
    WalletChange,
    WalletEntry,
    WalletFull,
    WalletHold,
    WalletPage,
)

MINT = "mint"
"""The system account that grants come from and fees go to; the less it has, the more is in the players' hands."""
HOLD = "wallet.hold"
LINES_AT_ONCE = 500
ENTRY_SPAN = ledger.STEPS_MAX * ledger.ID_TICKS_PER_MICROSECOND
"""How far the id of an entry's last line may lie behind that of its first, at most."""


class WalletService:
    """Wallets for game code and for the account's own view."""

    def __init__(self, books: Ledger, clock: Clock) -> None:
        self._ledger = books
        self._clock = clock
        self._virtual: set[str] = set()

    async def get(self, player: str | HasId) -> Mapping[str, int]:
        """See Wallets.get."""
        user_id = _id_of(player)
        return (await self.of_many((user_id,)))[user_id]

    async def of_many(self, user_ids: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """See Wallets.of_many."""
        found = await self._ledger.balances_of([_id_of(user_id) for user_id in user_ids])
        return {
            user_id: {asset: balance.available for asset, balance in balances.items()}
            for user_id, balances in found.items()
        }

    # -- changes

    async def change(
        self,
        player: str | HasId,
        changes: Mapping[str, int],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletChange:
        """See Wallets.change."""
        user_id = _id_of(player)
        entry_key = rules.ledger_key("wallet", user_id, key)
        return (await self._change({user_id: changes}, entry_key, metadata))[user_id]

    async def change_many(
        self,
        changes: Mapping[str, Mapping[str, int]],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, WalletChange]:
        """See Wallets.change_many."""
        entry_key = rules.ledger_key("wallets", "", key)
        by_id = {_id_of(player): one for player, one in changes.items()}
        if len(by_id) < len(changes):
            raise BadChange("A player is named twice, in different letters.")
        return await self._change(by_id, entry_key, metadata)

    async def _change(
        self, changes: Mapping[str, Mapping[str, int]], key: str | None, metadata: Mapping[str, Any] | None
    ) -> dict[str, WalletChange]:
        told = rules.metadata_text(metadata)
        steps: list[Transfer] = []
        assets: dict[str, dict[int, str]] = {}
        for user_id, amounts in sorted(changes.items()):
            rules.check_amounts(amounts)
            own = assets[user_id] = {}
            # In one order, so that the same change is known again however it is written.
            for asset, amount in sorted(amounts.items()):
                account = await self._account(user_id, asset)
                own[account] = asset
                if amount:
                    mint = await self._mint(asset)
                    debit, credit = (mint, account) if amount > 0 else (account, mint)
                    steps.append(Transfer(debit, credit, abs(amount), "wallet.change", "", "" if steps else told))
        lines = (await self._submit(key, steps)).lines if steps else ()
        changed = {user_id: rules.change_of(lines, own) for user_id, own in assets.items()}
        for user_id, amounts in changes.items():
            if not all(amounts.values()):
                await self._add_unchanged(user_id, amounts, changed[user_id])
        return changed

    async def _add_unchanged(self, user_id: str, amounts: Mapping[str, int], change: WalletChange) -> None:
        """Amounts of nothing leave no line: what there is of those assets is looked up."""
        wallet = await self.get(user_id)
        if not amounts.keys() <= wallet.keys():
            raise AccountNotFound
        for asset in amounts.keys() - change.updated.keys():
            change.previous[asset] = change.updated[asset] = wallet[asset]

    async def transfer(
        self,
        source: str | HasId,
        target: str | HasId,
        amounts: Mapping[str, int],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletChange:
        """See Wallets.transfer."""
        giver, taker = _id_of(source), _id_of(target)
        rules.check_amounts(amounts, 1)
        if giver == taker or not amounts:
            raise BadChange("A transfer moves something from one player to another.")
        told, entry_key = rules.metadata_text(metadata), rules.ledger_key("transfer", giver, key)
        steps: list[Transfer] = []
        own: dict[int, str] = {}
        for asset, amount in sorted(amounts.items()):
            debit, credit = await self._account(giver, asset), await self._account(taker, asset)
            own[debit] = asset
            steps.append(Transfer(debit, credit, amount, "wallet.transfer", "", "" if steps else told))
        return rules.change_of((await self._submit(entry_key, steps)).lines, own)

    async def hold(
        self,
        player: str | HasId,
        asset: str,
        amount: int,
        *,
        key: str | None = None,
        seconds: float = HOLD_SECONDS,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletHold:
        """See Wallets.hold."""
        user_id = _id_of(player)
        rules.check_amounts({asset: amount}, 1)
        if not 1 <= seconds <= HOLD_SECONDS_MAX:
            raise BadChange(f"Money is held for 1 to {HOLD_SECONDS_MAX:.0f} seconds.")
        told, entry_key = rules.metadata_text(metadata), rules.ledger_key("hold", user_id, key)
        account, mint = await self._account(user_id, asset), await self._mint(asset)
        until = int(self._clock.now() + seconds)
        receipt = await self._submit(entry_key, [Hold(account, mint, amount, HOLD, until, "", told)])
        line = receipt.lines[0]
        return WalletHold(str(line.id), user_id, asset, amount, line.expires_at or until)

    async def post(self, player: str | HasId, hold_id: str, amount: int | None = None) -> None:
        """See Wallets.post."""
        await self._end(player, hold_id, Post(_number(hold_id), amount, "wallet.post"))

    async def void(self, player: str | HasId, hold_id: str) -> None:
        """See Wallets.void."""
        await self._end(player, hold_id, Void(_number(hold_id), "wallet.void"))

    async def _end(self, player: str | HasId, hold_id: str, step: Post | Void) -> None:
        """A hold ends once: its id is the key, so that the same end may be asked for again."""
        line = await self._ledger.line(step.hold)
        own = {account.id for account in await self._ledger.accounts_of(_id_of(player))}
        if line is None or line.kind != HOLD or line.step is not LineKind.HOLD or line.debit not in own:
            raise ledger.HoldNotOpen(f"The player's wallet has no hold {hold_id}.")
        try:
            await self._submit(f"wallet-hold:{step.hold}", [step])
        except ChangeConflict:
            raise ledger.HoldNotOpen(f"The hold {hold_id} is over already, in another way.") from None

    async def _submit(self, key: str | None, steps: Sequence[ledger.Step]) -> Receipt:
        try:
            return await self._ledger.submit(Entry(key, tuple(steps)))
        except ledger.InsufficientFunds as error:
            raise InsufficientFunds(error.message.replace("The account has", "The wallet has")) from None
        except ledger.AmountOverflow as error:
            raise WalletFull(error.message) from None
        except (ledger.KeyConflict, ledger.KeyRetired):
            raise ChangeConflict("The key was used for a change of different content.") from None
        except ledger.AccountClosed:
            raise AccountNotFound from None
        except ledger.BadEntry as error:
            raise BadChange(error.message) from None

    # -- accounts

    async def _account(self, user_id: str, asset: str) -> int:
        await self._declared(asset)
        return (await self._ledger.open(Owner(OwnerKind.PLAYER, user_id, asset))).id

    async def _mint(self, asset: str) -> int:
        return (await self._ledger.open(Owner(OwnerKind.SYSTEM, MINT, asset), hot=True)).id

    async def _declared(self, asset: str) -> None:
        """Make an asset known at its first use. Raises BadChange for money, which nobody may make from nothing."""
        if asset in self._virtual:
            return
        try:
            found = await self._ledger.asset(asset)
        except ledger.UnknownAsset:
            await self._ledger.declare(found := ledger.Asset(asset))
        if found.kind == "money":
            raise BadChange(f"{asset} is money, which nobody makes from nothing: transfer it in the ledger.")
        self._virtual.add(asset)

    # -- history

    async def history(self, player: str | HasId, limit: int = PAGE_ENTRIES_MAX, cursor: str = "") -> WalletPage:
        """See Wallets.history."""
        if not 1 <= limit <= PAGE_ENTRIES_MAX:
            raise BadChange(f"A page of history has 1 to {PAGE_ENTRIES_MAX} entries.")
        user_id = _id_of(player)
        bound = rules.position_of(user_id, cursor)
        assets = {account.id: account.owner.asset for account in await self._ledger.accounts_of(user_id)}
        entries = await self._entries(user_id, assets, bound, limit + 1) if assets else []
        shown = entries[:limit]
        return WalletPage(tuple(shown), rules.cursor_of(user_id, int(shown[-1].id)) if len(entries) > limit else "")

    async def _entries(
        self, user_id: str, assets: Mapping[int, str], bound: int | None, count: int
    ) -> list[WalletEntry]:
        """The latest entries below a bound, at least `count` of them if there are as many, each with all its lines.

        Entries of different nodes that share no account may have their lines between each other's.
        """
        lines: list[Line] = []
        before = None if bound is None else bound + ENTRY_SPAN
        while True:
            page = await self._ledger.history(list(assets), before, LINES_AT_ONCE)
            lines += [line for line in page.lines if bound is None or line.entry < bound]
            before = page.before
            found = sorted({line.entry for line in lines}, reverse=True)[:count]
            if before is None or (len(found) == count and before <= found[-1]):
                break
        chosen = set(found)
        kept = sorted((line for line in lines if line.entry in chosen), key=lambda line: -line.entry)
        held = await self._held([line for line in kept if line.hold is not None])
        return rules.entries_of(kept, user_id, assets, held)

    async def _held(self, lines: Sequence[Line]) -> dict[int, int]:
        """The amounts of the holds that lines end."""
        return await self._ledger.hold_amounts([line.hold for line in lines if line.hold is not None])


def _id_of(player: str | HasId) -> str:
    try:
        return parse_id(player if isinstance(player, str) else player.id)
    except ValueError:
        raise AccountNotFound from None


def _number(hold_id: str) -> int:
    if not hold_id.isascii() or not hold_id.isdigit() or len(hold_id) > 19 or int(hold_id) > ledger.AMOUNT_MAX:
        raise BadChange(f"{hold_id!r:.100} is no id of a hold.")
    return int(hold_id)
