"""What Apple signs: which chains and signatures are believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from palestra.app.purchases import build_purchases
from palestra.core.clock import SystemClock
from palestra.core.config import DatabaseSettings, Settings
from palestra.core.errors import SetupError
from palestra.core.iap_settings import AppleStoreSettings, GooglePlaySettings, HuaweiSettings, IapSettings
from palestra.features.purchases.apple_signature import AppleSignature
from palestra.features.purchases.rules import Untrue
from palestra.testing import Platform
from tests.features.purchases.fakes import (
    DAY,
    Chain,
    apple_chain,
    apple_transaction,
    chain,
    issued,
    milliseconds,
    rsa_private,
)
from tests.features.purchases.shops import buy, coins, refusal


def believed(signed: str, roots: bytes | None = None) -> bytes:
    """The payload for a node that trusts the tests' root."""
    return AppleSignature(roots or apple_chain().root.pem, SystemClock()).payload(signed)


def with_other_payload(signed: str) -> str:
    """The same signature over something else."""
    head, _, tail = signed.split(".")
    other = base64.urlsafe_b64encode(json.dumps({"signedDate": milliseconds()}).encode()).rstrip(b"=").decode()
    return f"{head}.{other}.{tail}"


def stolen_leaf() -> Chain:
    """A true leaf, with which somebody else signs."""
    good = apple_chain()
    return Chain(good.leaf._replace(key=issued("somebody").key), good.intermediate, good.root)


ROOT = apple_chain().root
UNTRUE: dict[str, Callable[[], str]] = {
    "another root": lambda: apple_transaction("1", chain(issued("root"))),
    "a root it brings itself under the true one's name": lambda: apple_transaction(
        "1", chain(issued("root"))._replace(root=ROOT)
    ),
    "a leaf of another intermediate": lambda: apple_transaction(
        "1", chain(ROOT)._replace(leaf=issued("leaf", issued("intermediate", ROOT)))
    ),
    "a leaf that is a developer's": lambda: apple_transaction("1", chain(ROOT, leaf={"mark": ""})),
    "an intermediate that is a developer's": lambda: apple_transaction("1", chain(ROOT, intermediate={"mark": ""})),
    "an intermediate that is no authority": lambda: apple_transaction("1", chain(ROOT, intermediate={"ca": False})),
    "a leaf that had expired": lambda: apple_transaction("1", chain(ROOT, leaf={"start": -9 * DAY, "days": 8})),
    "an intermediate that had expired": lambda: apple_transaction(
        "1", chain(ROOT, intermediate={"start": -9 * DAY, "days": 8})
    ),
    "a leaf that is not valid yet": lambda: apple_transaction("1", chain(ROOT, leaf={"start": DAY})),
    "a signature of the future": lambda: apple_transaction("1", signedDate=milliseconds(DAY)),
    "no date": lambda: apple_transaction("1", signedDate="soon"),
    "another payload": lambda: with_other_payload(apple_transaction("1")),
    "another key": lambda: apple_transaction("1", stolen_leaf()),
    "no signature": lambda: apple_transaction("1").rpartition(".")[0] + ".",
    "a chain of two": lambda: apple_chain().sign({"signedDate": milliseconds()}, x5c=["a", "b"]),
    "a chain of garbage": lambda: apple_chain().sign({"signedDate": milliseconds()}, x5c=["a", "b", "c"]),
    "no algorithm": lambda: apple_chain().sign({"signedDate": milliseconds()}, alg="none"),
    "a shared secret": lambda: apple_chain().sign({"signedDate": milliseconds()}, alg="HS256"),
    "special rules": lambda: apple_chain().sign({"signedDate": milliseconds()}, crit=["b64"]),
    "three empty parts": lambda: "..",
    "an endless text": lambda: "a" * 200_000 + "..",
}


@pytest.mark.parametrize("why", UNTRUE)
def test_what_apple_did_not_sign_is_not_believed(why: str) -> None:
    with pytest.raises(Untrue):
        believed(UNTRUE[why]())


def test_what_was_signed_while_the_certificate_was_valid_stays_true() -> None:
    old = chain(ROOT, leaf={"start": -9 * DAY, "days": 8}, intermediate={"start": -9 * DAY})
    assert b'"transactionId": "1"' in believed(apple_transaction("1", old, signedDate=milliseconds(-3 * DAY)))


def test_one_of_several_roots_is_enough() -> None:
    other = issued("other")
    assert believed(apple_transaction("1"), other.pem + ROOT.pem)
    assert believed(apple_transaction("1", chain(other)), other.pem + ROOT.pem)


def test_the_root_that_comes_with_the_package_is_apples() -> None:
    built = build_purchases(IapSettings(), *[None] * 5, SystemClock())  # type: ignore[arg-type]
    (root,) = built.notices._apple._signature.roots
    assert root.fingerprint(SHA256()).hex() == "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179"
    root.verify_directly_issued_by(root)


async def test_a_forged_or_foreign_transaction_is_refused(platform: Platform) -> None:
    ann = await platform.bot()
    forged: dict[str, Any] = {"receipt": apple_transaction("1", chain(issued("root")))}
    assert await refusal(buy(ann, "apple", **forged)) == (400, 9, "Invalid Receipt. Apple did not sign it.")
    foreign = {"receipt": apple_transaction("1", bundleId="org.example.other")}
    assert await refusal(buy(ann, "apple", **foreign)) == (400, 9, "Invalid Receipt. It is for another app.")
    for changes in ({"transactionId": "a b"}, {"productId": ""}, {"purchaseDate": 1e300}, {"quantity": 0}):
        assert (await refusal(buy(ann, "apple", receipt=apple_transaction("1", **changes))))[:2] == (400, 9)
    assert await coins(ann) == 0


async def test_settings_that_cannot_be_are_told_at_start(database_url: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    public = rsa_private("google").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    wrong = {
        "iap.google.private_key is no": {"google": GooglePlaySettings(client_email="a", private_key="b")},
        "iap.google.private_key is a public": {"google": GooglePlaySettings(client_email="a", private_key=pem)},
        "iap.huawei.public_key": {"huawei": HuaweiSettings(public_key="eA==", client_id="a", client_secret="b")},
        "root_certificates_file cannot": {"apple": AppleStoreSettings(root_certificates_file="/nowhere/root.pem")},
        "root_certificates_file holds no": {"apple": AppleStoreSettings(root_certificates_file=str(empty))},
        "iap.apple.sandbox_url must": {"apple": AppleStoreSettings(sandbox_url="http://apple.example")},
    }
    database = DatabaseSettings(key_ring_file=str(tmp_path / "keyring.json"))
    for told, changes in wrong.items():
        settings = Settings(iap=IapSettings(**changes), database=database)
        with pytest.raises(SetupError, match=told):
            async with Platform.start(database_url=database_url, settings=settings):
                pass
