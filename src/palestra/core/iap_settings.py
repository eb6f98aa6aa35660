"""`[iap]`: the stores whose receipts this node takes for purchases."""

from __future__ import annotations

import msgspec


class AppleStoreSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[iap.apple]`: App Store. Receipts of before StoreKit 2 need the shared password as well."""

    bundle_ids: tuple[str, ...] = ()
    shared_password: str = ""
    root_certificates_file: str = ""
    production_url: str = "https://buy.itunes.apple.com/verifyReceipt"
    sandbox_url: str = "https://sandbox.itunes.apple.com/verifyReceipt"


class GooglePlaySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[iap.google]`: Google Play, asked in the name of a service account."""

    client_email: str = ""
    private_key: str = ""
    package_names: tuple[str, ...] = ()
    api_url: str = "https://androidpublisher.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"
    push_audience: str = ""
    push_email: str = ""
    push_issuers: tuple[str, ...] = ("https://accounts.google.com", "accounts.google.com")
    push_keys_url: str = "https://www.googleapis.com/oauth2/v3/certs"


class HuaweiSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[iap.huawei]`: AppGallery."""

    public_key: str = ""
    client_id: str = ""
    client_secret: str = ""
    token_url: str = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"
    order_url: str = "https://orders-dre.iap.hicloud.com"
    app_touch_order_url: str = "https://orders-at-dre.iap.dbankcloud.com"


class SamsungSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[iap.samsung]`: Galaxy Store."""

    package_name: str = ""
    receipt_url: str = "https://iap.samsungapps.com/iap/v6/receipt"


class InstantStoreSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[iap.facebook_instant]`: instant games on Facebook."""

    app_secret: str = ""


class IapSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[iap]`: in-app purchases. A store without its ids or secrets is not configured."""

    timeout_seconds: float = 10.0
    loopback_http: bool = False
    apple: AppleStoreSettings = AppleStoreSettings()
    google: GooglePlaySettings = GooglePlaySettings()
    huawei: HuaweiSettings = HuaweiSettings()
    samsung: SamsungSettings = SamsungSettings()
    facebook_instant: InstantStoreSettings = InstantStoreSettings()
