"""The stores of a node, built by hand from their settings."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from palestra.core.addresses import is_safe_url
from palestra.core.clock import Clock
from palestra.core.errors import SetupError
from palestra.core.iap_settings import AppleStoreSettings, IapSettings
from palestra.database.pool import Database
from palestra.features.identity.tokens import IdTokens, Trust
from palestra.features.ledger.contract import Ledger
from palestra.features.purchases.apple import AppleStore
from palestra.features.purchases.apple_signature import AppleSignature
from palestra.features.purchases.contract import PurchaseGames, Store
from palestra.features.purchases.google import GooglePlay
from palestra.features.purchases.huawei import Huawei
from palestra.features.purchases.instant import InstantStore
from palestra.features.purchases.notices import Notices
from palestra.features.purchases.samsung import Samsung
from palestra.features.purchases.service import PurchaseService, Sellers
from palestra.features.purchases.store import PurchaseStore
from palestra.gateway.outgoing import Outgoing
from palestra.jobs.contract import Jobs


@dataclass(slots=True)
class Purchasing:
    """Purchases, what stores tell of them, and the connections through which stores are asked."""

    service: PurchaseService
    notices: Notices
    outgoing: Outgoing


def build_purchases(
    settings: IapSettings,
    store: PurchaseStore,
    database: Database,
    ledger: Ledger,
    games: PurchaseGames,
    jobs: Jobs,
    clock: Clock,
) -> Purchasing:
    """Make them; no store is asked yet. Raises SetupError for a key, an address or a file that cannot be."""
    _check_addresses(settings)
    outgoing = Outgoing(settings.timeout_seconds, settings.loopback_http)
    apple = AppleStore(settings.apple, _signature(settings.apple, clock), outgoing, clock)
    google = GooglePlay(settings.google, outgoing, clock)
    huawei = Huawei(settings.huawei, outgoing)
    for seller in (google, huawei):
        if seller.configured:
            # A key that cannot be read shows now, not at the first purchase.
            _ = seller.key
    sellers = Sellers(
        {
            Store.APPLE: apple,
            Store.GOOGLE: google,
            Store.HUAWEI: huawei,
            Store.FACEBOOK_INSTANT: InstantStore(settings.facebook_instant.app_secret),
            Store.SAMSUNG: Samsung(settings.samsung, outgoing),
        },
        {Store.APPLE: apple, Store.GOOGLE: google},
    )
    service = PurchaseService(sellers, store, database, ledger, games, jobs, clock)
    trust = Trust(settings.google.push_issuers, (settings.google.push_audience,))
    push_tokens = IdTokens("Google", trust, settings.google.push_keys_url, outgoing, clock)
    return Purchasing(service, Notices(apple, google, push_tokens, settings.google, service), outgoing)


def _signature(settings: AppleStoreSettings, clock: Clock) -> AppleSignature:
    if not settings.root_certificates_file:
        # Apple Root CA - G3, as published by Apple; SHA-256 fingerprint 63343abf b89a6a03 ... 653e9179.
        own = files("palestra.features.purchases").joinpath("apple_root.pem")
        return AppleSignature(own.read_bytes(), clock)
    try:
        signature = AppleSignature(Path(settings.root_certificates_file).read_bytes(), clock)
    except OSError as error:
        raise SetupError(f"iap.apple.root_certificates_file cannot be read: {error}") from None
    _ = signature.roots
    return signature


def _check_addresses(settings: IapSettings) -> None:
    for key, url in {
        "iap.apple.production_url": settings.apple.production_url,
        "iap.apple.sandbox_url": settings.apple.sandbox_url,
        "iap.google.api_url": settings.google.api_url,
        "iap.google.token_url": settings.google.token_url,
        "iap.google.push_keys_url": settings.google.push_keys_url,
        "iap.huawei.token_url": settings.huawei.token_url,
        "iap.huawei.order_url": settings.huawei.order_url,
        "iap.huawei.app_touch_order_url": settings.huawei.app_touch_order_url,
        "iap.samsung.receipt_url": settings.samsung.receipt_url,
    }.items():
        if not is_safe_url(url, settings.loopback_http):
            raise SetupError(f"{key} must be an https:// address; {url!r} is none")
