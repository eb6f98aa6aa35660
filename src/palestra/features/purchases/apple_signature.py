"""What Apple signs since StoreKit 2: three-part texts with the chain of certificates in their head."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from palestra.core.clock import Clock
from palestra.core.errors import SetupError
from palestra.features.purchases import rules
from palestra.features.purchases.rules import Untrue

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CHAIN_CERTIFICATES = 3
CERTIFICATE_CHARS_MAX = 8_192
SIGNED_BYTES_MAX = 131_072
SIGNATURE_BYTES = 64
LEEWAY_SECONDS = 60
LEAF_MARK = "1.2.840.113635.100.6.11.1"
INTERMEDIATE_MARK = "1.2.840.113635.100.6.2.1"
"""Apple marks the certificates of its stores by these; under the same root stand those of every developer."""


class Header(msgspec.Struct):
    """The head of signed data."""

    alg: str
    x5c: list[str]
    crit: Any = None


class Signed(msgspec.Struct):
    """What every payload tells: when it was signed, in milliseconds."""

    signed_date: float = msgspec.field(name="signedDate")


class AppleSignature:
    """Believes what is signed by a certificate of Apple's stores that a root in `roots_pem` vouches for."""

    def __init__(self, roots_pem: bytes, clock: Clock) -> None:
        self._roots_pem = roots_pem
        self._clock = clock

    @cached_property
    def roots(self) -> list[Certificate]:
        """The certificates that are believed as they are. Raises SetupError."""
        # Loaded when first needed: most nodes start without checking any.
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificates(self._roots_pem)
        except ValueError as error:
            raise SetupError(f"iap.apple.root_certificates_file holds no certificates in PEM: {error}") from None

    def payload(self, signed: str) -> bytes:
        """The payload of data that Apple signed. About a millisecond. Raises Untrue."""
        leaf, intermediate = self._chain(_header(signed))
        body = _checked(signed, leaf)
        try:
            seconds = msgspec.json.decode(body, type=Signed).signed_date / 1000
            moment = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError, RecursionError):
            raise Untrue("no date of its signature") from None
        if seconds > self._clock.now() + LEEWAY_SECONDS:
            raise Untrue("signed in the future")
        # Certificates are replaced every year or two; what was signed in their time stays true.
        for certificate in (leaf, intermediate):
            if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
                raise Untrue("signed when its certificate was not valid")
        return body

    def _chain(self, header: Header) -> tuple[Certificate, Certificate]:
        """The leaf and the intermediate of a chain that ends in a root of ours; the one it brings is not looked at."""
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        if len(header.x5c) != CHAIN_CERTIFICATES or max(map(len, header.x5c)) > CERTIFICATE_CHARS_MAX:
            raise Untrue("no chain of three certificates")
        try:
            leaf, intermediate = (
                x509.load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in header.x5c[:2]
            )
            leaf.verify_directly_issued_by(intermediate)
            _require(intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, "no authority")
            leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(LEAF_MARK))
            intermediate.extensions.get_extension_for_oid(x509.ObjectIdentifier(INTERMEDIATE_MARK))
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
            raise Untrue(f"a broken chain: {type(error).__name__} {error}") from None
        _require(any(_issued(intermediate, root) for root in self.roots), "a chain that ends in another root")
        return leaf, intermediate


def _issued(certificate: Certificate, root: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise Untrue(otherwise)


def _header(signed: str) -> Header:
    if len(signed) > SIGNED_BYTES_MAX or not signed.isascii() or not rules.is_signed(signed):
        raise Untrue("no signed data")
    try:
        header = msgspec.json.decode(rules.unpadded(signed.split(".")[0]), type=Header)
    except (ValueError, RecursionError):
        raise Untrue("no head of signed data") from None
    _require(header.alg == "ES256" and header.crit is None, f"signed by {header.alg[:16]!r}, or in some special way")
    return header


def _checked(signed: str, leaf: Certificate) -> bytes:
    """The payload, if the leaf's key signed it. Raises Untrue.

    Checked here because joserfc takes no head of more than 512 bytes, and the chain alone has five times as many.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Untrue("a certificate of another kind of key")
    covered, _, tail = signed.rpartition(".")
    try:
        signature, payload = rules.unpadded(tail), rules.unpadded(covered.partition(".")[2])
        _require(len(signature) == SIGNATURE_BYTES, "a signature of another size")
        numbers = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
        key.verify(encode_dss_signature(*numbers), covered.encode(), ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        raise Untrue("the signature is wrong") from None
    return payload
