"""What providers can ask for: who plays, what they have, stakes, payouts and their undoing. Implements `Providers`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from palestra.core.clock import Clock
from palestra.core.errors import FailedPrecondition, NotFound, PermissionDenied, Unavailable
from palestra.core.provider_settings import ProviderSettings
from palestra.features.accounts.contract import Users
from palestra.features.ledger.contract import (
    Account,
    Balance,
    Entry,
    KeyConflict,
    KeyRetired,
    Ledger,
    Line,
    Measure,
    Owner,
    OwnerKind,
    Transfer,
)
from palestra.features.providers import rules, wire
from palestra.features.providers.contract import (
    AssetNotOffered,
    LaunchUsed,
    LoggedIn,
    ProviderDisabled,
    RolledBack,
    SessionEnded,
    TransactionConflict,
    UnknownPlayer,
    UnknownProvider,
)
from palestra.features.providers.store import ProviderStore
from palestra.features.providers.tokens import PlayClaims, PlayTokens
from palestra.features.sessions.contract import Sessions

REFUSALS = (NotFound, PermissionDenied, FailedPrecondition)
"""What may refuse a transaction by the state of player, asset, session or provider: never one that was carried out."""
ATTEMPTS_MAX = 4
"""How often a rollback looks again when its debit arrives at the same moment; the second look settles it."""


class ProviderService:
    """The seamless wallet: the money stays here, and each of a provider's requests is an entry of the ledger.

    A provider's account may go below zero: it is what the players won from it. `provider` is always a name that the
    gateway has verified.
    """

    def __init__(
        self,
        ledger: Ledger,
        users: Users,
        sessions: Sessions,
        store: ProviderStore,
        tokens: PlayTokens,
        settings: Mapping[str, ProviderSettings],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._users = users
        self._sessions = sessions
        self._store = store
        self._tokens = tokens
        self._settings = settings
        self._now = clock.now

    def deadline_seconds(self, provider: str) -> float:
        """Within which a provider is to have its answer."""
        return self._settings[provider].deadline_seconds

    # -- who plays

    def launch(self, player: str | LoggedIn, provider: str, asset: str) -> str:
        """See Providers.launch."""
        if provider not in self._settings:
            raise UnknownProvider(f"There is no provider {provider[:60]!r} in the settings.")
        self._check_enabled(provider)
        self._check_asset(provider, asset)
        if isinstance(player, str):
            return self._tokens.launch(provider, rules.player_of(player), asset, "", int(self._now()))
        return self._tokens.launch(provider, player.id, asset, player.token_id, player.logged_in_at)

    async def authenticate(self, provider: str, request: wire.Authenticate) -> wire.Authenticated:
        """Who a token speaks for, and a session for their stakes. Two or three round trips.

        Raises ProviderDisabled, SessionEnded, LaunchUsed, UnknownPlayer.
        """
        self._check_enabled(provider)
        launch = await self._launched(provider, request)
        found = await self._users.get_many((launch.uid,), fresh=True)
        if not found:
            raise UnknownPlayer
        assets = (launch.ast,) if launch.ast else self._settings[provider].assets
        balances = await self._available(launch.uid, assets)
        session, expires_at = self._tokens.session(launch, self._settings[provider].session_seconds)
        name = found[0].display_name or found[0].username
        return wire.Authenticated(launch.uid, name, session, expires_at, balances)

    async def _launched(self, provider: str, request: wire.Authenticate) -> PlayClaims:
        launch = self._tokens.read_launch(request.token)
        if launch is None:
            caller = self._sessions.verify(request.token)
            if caller is None:
                raise SessionEnded
            return PlayClaims("", provider, caller.user_id, "", caller.token_id, caller.issued_at, caller.expires_at)
        now = self._now()
        if launch.prv != provider or launch.exp <= now or not self._lasts(launch):
            raise SessionEnded
        if await self._store.use_launch(launch.jti, request.request_id, launch.exp, now) != request.request_id:
            raise LaunchUsed
        return launch

    def _lasts(self, claims: PlayClaims) -> bool:
        return self._sessions.lasts(claims.uid, claims.tid, claims.iat)

    # -- money

    async def balance(self, provider: str, request: wire.BalanceOf) -> wire.BalanceNow:
        """What a player can spend of an asset. One round trip. Raises AssetNotOffered, UnknownPlayer."""
        self._check_asset(provider, request.asset)
        player_id = rules.player_of(request.player_id)
        balances = await self._ledger.balances_of((player_id,))
        if request.asset not in balances.get(player_id, {}):
            await self._check_exists(player_id)
        return wire.BalanceNow(player_id, request.asset, _shown(balances.get(player_id, {}), request.asset))

    async def debit(self, provider: str, request: wire.Debit) -> wire.Moved:
        """Take a stake. One round trip, shared with others.

        Raises ProviderDisabled, AssetNotOffered, BadAmount, SessionEnded, WrongOwner, TransactionConflict, RolledBack,
        and what the ledger refuses.
        """
        amount, player_id = rules.amount_of(request.amount), rules.player_of(request.player_id)
        key = rules.transaction_key(provider, request.transaction_id)
        try:
            line = await self._stake(provider, player_id, request, amount)
        except REFUSALS:
            earlier = await self._earlier(key, rules.DEBIT, player_id, request, amount)
            if earlier is None:
                raise
            line = earlier
        return _moved(request.transaction_id, line, line.debit_after)

    async def _stake(self, provider: str, player_id: str, request: wire.Debit, amount: int) -> Line:
        self._check_asset(provider, request.asset)
        self._check_enabled(provider)
        claims = self._tokens.read_session(request.session)
        if not self._lasts(rules.check_session(claims, provider, player_id, request.asset, self._now())):
            raise SessionEnded
        player, house = await self._player(player_id, request.asset), await self.house(provider, request.asset)
        cause = rules.cause(request.transaction_id, request.request_id)
        stake = Transfer(player.id, house.id, amount, rules.DEBIT, request.round_id, cause, Measure.STAKE)
        return await self._move(rules.transaction_key(provider, request.transaction_id), stake)

    async def credit(self, provider: str, request: wire.Credit) -> wire.Moved:
        """Pay a player, in a session or not. One round trip, shared with others.

        Raises AssetNotOffered, BadAmount, UnknownPlayer, TransactionConflict, and what the ledger refuses.
        """
        amount, player_id = rules.amount_of(request.amount), rules.player_of(request.player_id)
        key = rules.transaction_key(provider, request.transaction_id)
        late_key = rules.late_credit_key(provider, request.transaction_id)
        try:
            line = await self._payout(provider, player_id, request, amount)
        except REFUSALS:
            earlier = await self._earlier(key, rules.CREDIT, player_id, request, amount)
            earlier = earlier or await self._earlier(late_key, rules.CREDIT, player_id, request, amount)
            if earlier is None:
                raise
            line = earlier
        return _moved(request.transaction_id, line, line.credit_after)

    async def _payout(self, provider: str, player_id: str, request: wire.Credit, amount: int) -> Line:
        self._check_asset(provider, request.asset)
        player, house = await self._player(player_id, request.asset), await self.house(provider, request.asset)
        cause = rules.cause(request.transaction_id, request.request_id)
        payout = Transfer(house.id, player.id, amount, rules.CREDIT, request.round_id, cause, Measure.PAYOUT)
        try:
            return await self._move(rules.transaction_key(provider, request.transaction_id), payout)
        except RolledBack:
            # A rollback forbade the debit of this id, for ever: whoever sends this credit again comes here as well.
            return await self._move(rules.late_credit_key(provider, request.transaction_id), payout)

    async def rollback(self, provider: str, request: wire.Rollback) -> wire.Undone:
        """Undo a debit, or keep it from ever happening. Two or three round trips.

        Whatever arrives at the same time, one of two things is true ever after: the debit happened and was undone, or
        no debit can happen under its id. Raises AssetNotOffered, UnknownPlayer, WrongOwner, NotADebit.
        """
        player_id = rules.player_of(request.player_id)
        try:
            self._check_asset(provider, request.asset)
            line = await self._undo_or_forbid(provider, player_id, request)
        except REFUSALS:
            key = rules.rollback_key(provider, request.transaction_id)
            earlier = await self._earlier(key, rules.ROLLBACK, player_id, request)
            if earlier is None and not await self._is_forbidden(provider, request):
                raise
            line = earlier
        return _undone(request.transaction_id, line)

    async def _undo_or_forbid(self, provider: str, player_id: str, request: wire.Rollback) -> Line | None:
        """The line that gave a debit back, None if there is no debit, and never will be."""
        key = rules.transaction_key(provider, request.transaction_id)
        for _ in range(ATTEMPTS_MAX):
            receipt = await self._ledger.find(key)
            if receipt is not None:
                return await self._undo(provider, player_id, request, receipt.lines[0]) if receipt.lines else None
            await self._check_exists(player_id)
            try:
                await self._ledger.submit(Entry(key, ()))
            except KeyConflict:
                # Between the look and the act the debit came in: now it is there to be undone.
                continue
            return None
        raise Unavailable("The transaction is being carried out in this very moment: repeat the request.")

    async def _is_forbidden(self, provider: str, request: wire.Rollback) -> bool:
        receipt = await self._ledger.find(rules.transaction_key(provider, request.transaction_id))
        return receipt is not None and not receipt.lines

    async def _undo(self, provider: str, player_id: str, request: wire.Rollback, debit: Line) -> Line:
        own = {account.id for account in await self._ledger.accounts_of(player_id) if _is(account, request.asset)}
        if not own:
            await self._check_exists(player_id)
        rules.check_undoing(debit, request.round_id, own)
        cause = rules.cause(request.transaction_id, request.request_id)
        back = Transfer(debit.credit, debit.debit, debit.amount, rules.ROLLBACK, debit.reference, cause, Measure.REFUND)
        return await self._move(rules.rollback_key(provider, request.transaction_id), back)

    async def _earlier(
        self,
        key: str,
        kind: str,
        player_id: str,
        request: wire.Debit | wire.Credit | wire.Rollback,
        amount: int | None = None,
    ) -> Line | None:
        """The line of this very transaction, carried out before whatever refuses it now. Two round trips.

        An account whose player is gone names nobody: then kind, asset, round and amount tell that it is the same.
        """
        receipt = await self._ledger.find(key)
        if receipt is None or not receipt.lines or not rules.is_of(receipt.lines[0], kind, request.round_id, amount):
            return None
        line = receipt.lines[0]
        account_id = line.debit if kind == rules.DEBIT else line.credit
        owner = (await self._ledger.accounts((account_id,)))[account_id].owner
        return line if owner.asset == request.asset and owner.name in ("", player_id) else None

    async def _move(self, key: str, transfer: Transfer) -> Line:
        """Carry a transaction out once; the same one again, by whatever request, is answered as it was then."""
        try:
            return (await self._ledger.submit(Entry(key, (transfer,)))).lines[0]
        except KeyRetired:
            raise RolledBack from None
        except KeyConflict:
            earlier = await self._ledger.find(key)
        if earlier is None or not rules.repeats(earlier, transfer):
            raise TransactionConflict
        return earlier.lines[0]

    async def _player(self, player_id: str, asset: str) -> Account:
        return await self._ledger.open(Owner(OwnerKind.PLAYER, player_id, asset))

    async def house(self, provider: str, asset: str) -> Account:
        """A provider's account. Raises UnknownAsset."""
        return await self._ledger.open(Owner(OwnerKind.PROVIDER, provider, asset), may_go_negative=True, hot=True)

    # -- lists

    async def page(self, provider: str, request: wire.List) -> wire.Transactions:
        """A page of the transactions of an asset, oldest first. Two round trips. Raises AssetNotOffered, BadWindow."""
        self._check_asset(provider, request.asset)
        first, end = rules.line_ids(request.since, request.until, request.cursor)
        house = await self.house(provider, request.asset)
        lines = await self._ledger.history_between(house.id, first, end, request.limit)
        shown = await self.transactions(house, lines)
        return wire.Transactions(shown, str(lines[-1].id) if len(lines) == request.limit else "")

    async def transactions(self, house: Account, lines: Iterable[Line]) -> list[wire.Transaction]:
        """Those of some lines of a provider's account that are its transactions. One round trip."""
        ours = [line for line in lines if line.kind in rules.KINDS]
        others = {_other(line, house.id) for line in ours}
        players = await self._ledger.accounts(others) if others else {}
        found: list[wire.Transaction] = []
        for line in ours:
            cause, player = rules.read_cause(line.metadata), players.get(_other(line, house.id))
            found.append(
                wire.Transaction(
                    kind=rules.KINDS[line.kind],
                    transaction_id=cause.transaction_id,
                    request_id=cause.request_id,
                    round_id=line.reference,
                    player_id=player.owner.name if player is not None else "",
                    asset=house.owner.asset,
                    amount=str(line.amount),
                    ledger_id=str(line.id),
                    at=line.at,
                )
            )
        return found

    # -- checks

    def _check_enabled(self, provider: str) -> None:
        if not self._settings[provider].enabled:
            raise ProviderDisabled

    def _check_asset(self, provider: str, asset: str) -> None:
        assets = self._settings[provider].assets
        if asset not in assets:
            raise AssetNotOffered(f"{provider} plays for {', '.join(assets)}, not for {asset[:64]!r}.")

    async def _check_exists(self, player_id: str) -> None:
        if not await self._users.get_many((player_id,), fresh=True):
            raise UnknownPlayer

    async def _available(self, player_id: str, assets: Iterable[str]) -> dict[str, str]:
        balances = (await self._ledger.balances_of((player_id,))).get(player_id, {})
        return {asset: _shown(balances, asset) for asset in assets}


def _shown(balances: Mapping[str, Balance], asset: str) -> str:
    return str(balances[asset].available) if asset in balances else "0"


def _is(account: Account, asset: str) -> bool:
    return account.owner.asset == asset


def _other(line: Line, account_id: int) -> int:
    return line.credit if line.debit == account_id else line.debit


def _moved(transaction_id: str, line: Line, after: int | None) -> wire.Moved:
    return wire.Moved(transaction_id, str(line.id), str(after), line.at)


def _undone(transaction_id: str, line: Line | None) -> wire.Undone:
    if line is None:
        return wire.Undone(transaction_id, "remembered")
    return wire.Undone(transaction_id, "rolled_back", str(line.amount), str(line.id), str(line.credit_after), line.at)
