"""Stores made of code, on this machine, with keys and certificates of their own."""

from __future__ import annotations

import base64
import datetime
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from palestra.core.iap_settings import (
    AppleStoreSettings,
    GooglePlaySettings,
    HuaweiSettings,
    IapSettings,
    InstantStoreSettings,
    SamsungSettings,
)
from palestra.features.purchases.apple_signature import INTERMEDIATE_MARK, LEAF_MARK
from tests.features.purchases.shops import GEMS, PASS

BUNDLE, PASSWORD, INSTANT_SECRET = "org.example.game", "shared-password", "instant-secret"
SERVICE_ACCOUNT, PUSHER, AUDIENCE = "node@game.example", "push@game.example", "https://game.example/push"
DAY = 86_400


@cache
def rsa_private(name: str) -> rsa.RSAPrivateKey:
    """A key of a name, made once."""
    return rsa.generate_private_key(65537, 2048)


def pem_of(key: Any) -> str:
    """A private key as a file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Authority(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def issued(
    name: str, by: Authority | None = None, *, mark: str = "", ca: bool = True, start: float = -DAY, days: int = 365
) -> Authority:
    """A certificate, by itself or by another; `start` in seconds from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.datetime.fromtimestamp(time.time() + start, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if mark:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(mark), b"\x05\x00"), False)
    return Authority(builder.sign(by.key if by else key, SHA256()), key)


class Chain(NamedTuple):
    """What signs in Apple's name."""

    leaf: Authority
    intermediate: Authority
    root: Authority

    def sign(self, payload: dict[str, Any], **header: Any) -> str:
        """A three-part text."""
        x5c = [base64.b64encode(one.certificate.public_bytes(serialization.Encoding.DER)).decode() for one in self]
        head = _part(json.dumps({"alg": "ES256", "x5c": x5c, **header}).encode())
        covered = f"{head}.{_part(json.dumps(payload).encode())}"
        r, s = decode_dss_signature(self.leaf.key.sign(covered.encode(), ec.ECDSA(SHA256())))
        return f"{covered}.{_part(r.to_bytes(32) + s.to_bytes(32))}"


def chain(
    root: Authority,
    *,
    leaf: dict[str, Any] | None = None,
    intermediate: dict[str, Any] | None = None,
) -> Chain:
    """A chain under a root, as Apple's but for what is given."""
    middle = issued("intermediate", root, **{"mark": INTERMEDIATE_MARK, **(intermediate or {})})
    return Chain(issued("leaf", middle, **{"mark": LEAF_MARK, "ca": False, **(leaf or {})}), middle, root)


@cache
def apple_chain() -> Chain:
    """The chain that nodes of these tests believe."""
    return chain(issued("root"))


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def milliseconds(seconds_from_now: float = 0) -> int:
    """A moment as Apple and Google write it."""
    return int((time.time() + seconds_from_now) * 1000)


class Stores:
    """Every store. `seen` counts requests by path; `mood` changes how all are answered."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.seen: Counter[str] = Counter()
        self.mood: Callable[[web.Request], Any] | None = None
        self.apple_verdicts: dict[str, dict[str, dict[str, Any]]] = {"production": {}, "sandbox": {}}
        self.google: dict[str, dict[str, Any]] = {}
        """What Google says, by token."""
        self.huawei: dict[str, dict[str, Any]] = {}
        """What Huawei's order service says, by token."""
        self.samsung: dict[str, dict[str, Any]] = {}
        self._root = folder / "root.pem"
        self._root.write_bytes(apple_chain().root.pem)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Stores]:
        """Listen on a free port of this machine."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def settings(self, **changes: Any) -> IapSettings:
        """Settings of a node for which these are all the stores."""
        public = rsa_private("huawei").public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        given: dict[str, Any] = {
            "loopback_http": True,
            "timeout_seconds": 2.0,
            "apple": AppleStoreSettings(
                bundle_ids=(BUNDLE,),
                shared_password=PASSWORD,
                root_certificates_file=str(self._root),
                production_url=f"{self.url}/apple/production",
                sandbox_url=f"{self.url}/apple/sandbox",
            ),
            "google": GooglePlaySettings(
                client_email=SERVICE_ACCOUNT,
                private_key=pem_of(rsa_private("google")).replace("\n", "\\n"),
                package_names=(BUNDLE,),
                api_url=f"{self.url}/google",
                token_url=f"{self.url}/google/token",
                push_audience=AUDIENCE,
                push_email=PUSHER,
                push_issuers=(self.url,),
                push_keys_url=f"{self.url}/google/keys",
            ),
            "huawei": HuaweiSettings(
                public_key=base64.b64encode(der).decode(),
                client_id="huawei-id",
                client_secret="huawei-secret",
                token_url=f"{self.url}/huawei/token",
                order_url=f"{self.url}/huawei/orders",
                app_touch_order_url=f"{self.url}/huawei/touch",
            ),
            "samsung": SamsungSettings(package_name=BUNDLE, receipt_url=f"{self.url}/samsung"),
            "facebook_instant": InstantStoreSettings(app_secret=INSTANT_SECRET),
        }
        return IapSettings(**{**given, **changes})

    # -- what players bring along

    def google_purchase(self, token: str, product: str = GEMS, **said: Any) -> str:
        """A purchase in Google Play, and the receipt of it."""
        self.google[token] = {"purchaseState": 0, "purchaseTimeMillis": str(milliseconds(-60)), **said}
        return json.dumps({"packageName": BUNDLE, "productId": product, "purchaseToken": token, "orderId": "GPA.1"})

    def google_subscription(self, token: str, seconds: float = DAY, **said: Any) -> str:
        """A subscription there that ends in so many seconds."""
        self.google[token] = {
            "startTime": "2026-01-02T03:04:05.678Z",
            "subscriptionState": "SUBSCRIPTION_STATE_ACTIVE",
            "lineItems": [{"productId": PASS, "expiryTime": rfc3339(seconds)}],
            **said,
        }
        return json.dumps({"packageName": BUNDLE, "productId": PASS, "purchaseToken": token})

    def huawei_purchase(self, order: str, **changes: Any) -> dict[str, str]:
        """A purchase in AppGallery: the body that clients send."""
        data = {
            "orderId": order,
            "packageName": BUNDLE,
            "productId": GEMS,
            "purchaseToken": f"token-{order}",
            "purchaseTime": milliseconds(-60),
            "purchaseState": 0,
            "kind": 0,
            **changes,
        }
        self.huawei[f"token-{order}"] = {"responseCode": "0", "purchaseTokenData": json.dumps(data)}
        text = json.dumps(data)
        signature = rsa_private("huawei").sign(text.encode(), padding.PKCS1v15(), SHA256())
        return {"purchase": text, "signature": base64.b64encode(signature).decode()}

    def samsung_purchase(self, purchase_id: str, **changes: Any) -> str:
        """A purchase in the Galaxy Store."""
        self.samsung[purchase_id] = {
            "itemId": GEMS,
            "orderId": f"order-of-{purchase_id}",
            "packageName": BUNDLE,
            "purchaseDate": "2026-01-02 03:04:05",
            "status": "success",
            "mode": "REAL",
            **changes,
        }
        return purchase_id

    def push(self, *, key: str = "pusher", **claims: Any) -> str:
        """The header that Pub/Sub proves itself with."""
        signing = RSAKey.import_key(pem_of(rsa_private(key)), {"kid": "pusher"})
        body = {
            "iss": self.url,
            "sub": "1",
            "aud": AUDIENCE,
            "email": PUSHER,
            "email_verified": True,
            "exp": int(time.time()) + 600,
            **claims,
        }
        return "Bearer " + jwt.encode({"alg": "RS256", "kid": "pusher"}, body, signing)

    # -- what a node asks

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen[request.path] += 1
        if self.mood is not None:
            return await self.mood(request)
        store, _, path = request.match_info["path"].partition("/")
        handlers = {"apple": self._apple, "google": self._google, "huawei": self._huawei, "samsung": self._samsung}
        return await handlers[store](request, path)

    async def _apple(self, request: web.Request, place: str) -> web.Response:
        question = await request.json()
        assert question["password"] == PASSWORD
        return web.json_response(self.apple_verdicts[place].get(question["receipt-data"], {"status": 21002}))

    async def _google(self, request: web.Request, path: str) -> web.Response:
        if path == "keys":
            key = RSAKey.import_key(pem_of(rsa_private("pusher")), {"kid": "pusher", "use": "sig"})
            return web.json_response({"keys": [key.as_dict(private=False)]})
        if path == "token":
            form = await request.post()
            public = RSAKey.import_key(pem_of(rsa_private("google")))
            claims = jwt.decode(str(form["assertion"]), public).claims
            assert (claims["iss"], claims["aud"]) == (SERVICE_ACCOUNT, f"{self.url}/google/token")
            return web.json_response({"access_token": "google-access", "expires_in": 3599})
        assert request.headers["Authorization"] == "Bearer google-access"
        assert path.startswith(f"androidpublisher/v3/applications/{BUNDLE}/purchases/")
        found = self.google.get(path.rpartition("/")[2])
        return (
            web.json_response({"error": "no such purchase"}, status=404) if found is None else web.json_response(found)
        )

    async def _huawei(self, request: web.Request, path: str) -> web.Response:
        if path == "token":
            form = await request.post()
            assert (form["client_id"], form["client_secret"]) == ("huawei-id", "huawei-secret")
            return web.json_response({"access_token": "huawei-access"})
        assert path.endswith("/applications/purchases/tokens/verify")
        assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"APPAT:huawei-access").decode()
        question = await request.json()
        return web.json_response(self.huawei.get(question["purchaseToken"], {"responseCode": "5"}))

    async def _samsung(self, request: web.Request, path: str) -> web.Response:
        unknown = {"status": "fail", "errorCode": 9135, "errorMessage": "not exist order"}
        return web.json_response(self.samsung.get(request.query["purchaseID"], unknown))


def rfc3339(seconds_from_now: float) -> str:
    """A moment as Google writes it."""
    return datetime.datetime.fromtimestamp(time.time() + seconds_from_now, datetime.UTC).isoformat()


def apple_transaction(transaction: str, by: Chain | None = None, **changes: Any) -> str:
    """A purchase that Apple signed."""
    payload = {
        "transactionId": transaction,
        "originalTransactionId": transaction,
        "bundleId": BUNDLE,
        "productId": GEMS,
        "purchaseDate": milliseconds(-60),
        "quantity": 1,
        "type": "Consumable",
        "environment": "Production",
        "signedDate": milliseconds(),
        **changes,
    }
    return (by or apple_chain()).sign(payload)


def apple_subscription(transaction: str, seconds: float = DAY, **changes: Any) -> str:
    """A subscription that Apple signed, which ends in so many seconds."""
    period = {"productId": PASS, "type": "Auto-Renewable Subscription", "expiresDate": milliseconds(seconds)}
    return apple_transaction(transaction, **{**period, "originalPurchaseDate": milliseconds(-90), **changes})


def apple_notice(kind: str, transaction: str, by: Chain | None = None) -> dict[str, str]:
    """What Apple's servers send."""
    payload = {
        "notificationType": kind,
        "notificationUUID": "1",
        "version": "2.0",
        "signedDate": milliseconds(),
        "data": {"bundleId": BUNDLE, "environment": "Production", "signedTransactionInfo": transaction},
    }
    return {"signedPayload": (by or apple_chain()).sign(payload)}


def google_notice(**about: Any) -> dict[str, Any]:
    """What Pub/Sub pushes."""
    text = json.dumps({"version": "1.0", "packageName": BUNDLE, "eventTimeMillis": str(milliseconds()), **about})
    return {"message": {"data": base64.b64encode(text.encode()).decode(), "messageId": "1"}, "subscription": "s"}


def signed_request(token: str, *, secret: str = INSTANT_SECRET, **changes: Any) -> str:
    """A purchase in an instant game."""
    info = {
        "algorithm": "HMAC-SHA256",
        "product_id": GEMS,
        "purchase_token": token,
        "purchase_time": int(time.time()) - 60,
        **changes,
    }
    payload = _part(json.dumps(info).encode())
    return f"{_part(hmac.digest(secret.encode(), payload.encode(), 'sha256'))}.{payload}"


async def status_503(request: web.Request) -> web.Response:
    """A store that is out of order."""
    return web.Response(status=503)


async def status_401(request: web.Request) -> web.Response:
    """A store that does not know the node."""
    return web.Response(status=401, text="who?")
