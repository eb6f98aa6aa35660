"""Pure decisions about proofs: addresses that may be asked, what a token claims, what a signature covers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Collection
from urllib.parse import urlsplit

import msgspec

from palestra.core.addresses import LOOPBACK, is_safe_url
from palestra.features.identity.contract import OPEN_ID_PREFIX, GameCenterProof

TOKEN_BYTES_MAX = 16_384
SUBJECT_CHARS_MAX = 255
PLAYER_ID_CHARS_MAX = 128
LEEWAY_SECONDS = 60
"""How far the provider's clock and ours may differ."""
INSTANT_SECONDS_MAX = 86_400
"""How long signed player info of an instant game is good for."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures by a key pair only: with a shared secret, whoever can check could also sign."""
_PLAIN_URL = re.compile(r"[a-z]+://[a-zA-Z0-9.-]+(:[0-9]+)?/[a-zA-Z0-9._/-]{1,256}").fullmatch
_MILLISECONDS_MIN = 10**11
"""A timestamp above this counts milliseconds: as seconds it would be in the year 5138."""


class Untrue(Exception):
    """A proof that proves nothing; the text says why, for the log."""


# -- addresses


def is_key_url(url: str, key_host: str, loopback_http: bool) -> bool:
    """Whether Game Center's keys may be taken from an address that a player brings along."""
    # Nothing that two readers of addresses could read in two ways.
    if not _PLAIN_URL(url) or not is_safe_url(url, loopback_http):
        return False
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK:
        return loopback_http and host == key_host
    return (host == key_host or host.endswith("." + key_host)) and parts.port in (None, 443)


# -- ID tokens


class Header(msgspec.Struct):
    """The head of a signed token."""

    alg: str
    kid: str | None = None


class Claims(msgspec.Struct):
    """What a token claims of its bearer. Times in unix seconds."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    iat: float | None = None
    nbf: float | None = None
    azp: str | None = None
    nonce: str | None = None
    email: str | None = None
    email_verified: bool | str | None = None
    name: str | None = None
    picture: str | None = None

    @property
    def verified_email(self) -> str:
        """The address if the issuer says that it is the bearer's, else ""."""
        return (self.email or "") if self.email_verified in (True, "true") else ""


def token_header(token: str) -> Header:
    """The head of a token whose signature can be checked here. Raises Untrue."""
    if len(token) > TOKEN_BYTES_MAX or not token.isascii() or token.count(".") != 2:
        raise Untrue("not a signed token")
    try:
        header = msgspec.json.decode(_unpadded(token.split(".")[0]), type=Header)
    except (ValueError, RecursionError):
        raise Untrue("no header of a signed token") from None
    if header.alg not in ALGORITHMS:
        raise Untrue(f"signed by {header.alg[:16]!r}")
    return header


def token_claims(payload: bytes) -> Claims:
    """The claims of a token whose signature was checked. Raises Untrue."""
    try:
        return msgspec.json.decode(payload, type=Claims)
    except (ValueError, RecursionError) as error:
        raise Untrue(f"claims that cannot be read: {error}") from None


def check_claims(claims: Claims, issuers: Collection[str], audiences: Collection[str], now: float) -> None:
    """Whether a token was made by one of `issuers` for one of `audiences` and is valid now. Raises Untrue."""
    if claims.iss not in issuers:
        raise Untrue(f"issued by {claims.iss!r}")
    meant = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if not any(audience in audiences for audience in meant):
        raise Untrue(f"meant for {meant!r}")
    if len(meant) > 1 and claims.azp is not None and claims.azp not in audiences:
        raise Untrue(f"handed out to {claims.azp!r}")
    if claims.exp + LEEWAY_SECONDS <= now:
        raise Untrue("expired")
    if max(claims.nbf or 0, claims.iat or 0) > now + LEEWAY_SECONDS:
        raise Untrue("not valid yet")
    if not 1 <= len(claims.sub) <= SUBJECT_CHARS_MAX or "\0" in claims.sub:
        raise Untrue("about nobody")


def check_nonce(claims: Claims, nonce: str, required: bool) -> None:
    """Whether the nonce that a client says it chose is in its token, plain or as the hex SHA-256 of it. Raises Untrue.

    The hashed way keeps the nonce from whoever sees only the token.
    """
    if not nonce:
        if required:
            raise Untrue("a nonce is required and the client names none")
        return
    found = (claims.nonce or "").encode()
    hashed = hashlib.sha256(nonce.encode()).hexdigest().encode()
    if not hmac.compare_digest(found, nonce.encode()) and not hmac.compare_digest(found, hashed):
        raise Untrue("made for another nonce")


# -- issuers of the operator's own


def open_id_parts(text: str) -> tuple[str, str]:
    """The name of an issuer and the token, of `oidc:NAME:TOKEN`. Raises Untrue."""
    name, colon, token = text.removeprefix(OPEN_ID_PREFIX).partition(":")
    if not colon:
        raise Untrue("no name of an issuer")
    return name, token


# -- Facebook Instant Games


class InstantInfo(msgspec.Struct):
    """Who plays, and since when that is known, in unix seconds."""

    player_id: str
    algorithm: str = ""
    issued_at: float = 0


def instant_player(signed: str, secret: str, now: float) -> str:
    """The player that signed info of an instant game is about. Raises Untrue."""
    if len(signed) > TOKEN_BYTES_MAX or not signed.isascii():
        raise Untrue("not signed player info")
    signature, dot, payload = signed.partition(".")
    expected = hmac.digest(secret.encode(), payload.encode(), "sha256")
    try:
        if not dot or not hmac.compare_digest(_unpadded(signature), expected):
            raise Untrue("the signature is wrong")
        info = msgspec.json.decode(_unpadded(payload), type=InstantInfo)
    except (ValueError, RecursionError):
        raise Untrue("player info that cannot be read") from None
    if info.algorithm.upper() != "HMAC-SHA256":
        raise Untrue(f"signed by {info.algorithm!r}")
    if info.issued_at and not -LEEWAY_SECONDS <= now - info.issued_at <= INSTANT_SECONDS_MAX:
        raise Untrue("signed too long ago")
    return player_id(info.player_id)


# -- Game Center


def check_game_center(proof: GameCenterProof, bundle_ids: Collection[str], seconds_max: float, now: float) -> None:
    """Whether a proof is for this game and of these days. Raises Untrue."""
    if proof.bundle_id not in bundle_ids:
        raise Untrue("meant for another game")
    seconds = proof.timestamp / 1000 if proof.timestamp > _MILLISECONDS_MIN else proof.timestamp
    if not -LEEWAY_SECONDS <= now - seconds <= seconds_max:
        raise Untrue("signed too long ago, or in the future")
    player_id(proof.player_id)


def game_center_signed(proof: GameCenterProof) -> tuple[bytes, bytes]:
    """What Game Center signed, and the signature. Raises Untrue."""
    try:
        salt, signature = base64.b64decode(proof.salt, validate=True), base64.b64decode(proof.signature, validate=True)
    except ValueError:
        raise Untrue("salt or signature is not base64") from None
    moment = proof.timestamp.to_bytes(8, "big")
    return proof.player_id.encode() + proof.bundle_id.encode() + moment + salt, signature


def player_id(text: str) -> str:
    """An id at a provider that can be kept. Raises Untrue."""
    if not 1 <= len(text) <= PLAYER_ID_CHARS_MAX or "\0" in text:
        raise Untrue("no id of a player")
    return text


def _unpadded(text: str) -> bytes:
    """The bytes of unpadded URL-safe base64. Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
