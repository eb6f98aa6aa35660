"""ID tokens (OpenID Connect): checked by signature, issuer, audience, times and nonce."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from palestra.core.clock import Clock
from palestra.core.log import get_logger
from palestra.features.identity import rules
from palestra.features.identity.contract import BadProof
from palestra.features.identity.published import Published
from palestra.features.identity.rules import Claims, Untrue
from palestra.gateway.outgoing import Answer, Outgoing, ProviderAway

KEYS_MAX = 64
KEY_KINDS = ("RSA", "EC")
DISCOVERY_PATH = "/.well-known/openid-configuration"

log = get_logger(__name__)
_decode_keys = msgspec.json.Decoder(type=dict[str, Any]).decode


class Trust(NamedTuple):
    """Whose tokens are believed, and for whom they must have been made."""

    issuers: Collection[str]
    audiences: Collection[str]
    nonce_required: bool = False


class Discovered(msgspec.Struct):
    """What matters here of an issuer's description of itself."""

    issuer: str
    jwks_uri: str


class IdTokens:
    """Checks the tokens of one provider. Keys are fetched when first needed, and when a token names a new one."""

    def __init__(self, name: str, trust: Trust, keys_url: str, outgoing: Outgoing, clock: Clock) -> None:
        """Without `keys_url` the issuer, the only one then, is asked where its keys are."""
        self._name = name
        self._trust = trust
        self._keys_url = keys_url
        self._outgoing = outgoing
        self._clock = clock
        self._keys: Published[list[Any]] = Published(name, self._fetch, clock)

    async def verify(self, token: str, nonce: str) -> Claims:
        """The claims of a token that can be believed. No round trip when its key is known.

        Raises BadProof, ProviderAway, Overloaded.
        """
        try:
            key = await self._key(rules.token_header(token).kid)
            claims = rules.token_claims(_checked_payload(token, key))
            rules.check_claims(claims, self._trust.issuers, self._trust.audiences, self._clock.now())
            rules.check_nonce(claims, nonce, self._trust.nonce_required)
        except Untrue as error:
            raise refused(self._name, error) from None
        return claims

    async def _key(self, kid: str | None) -> Any:
        key = _named(await self._keys.get(), kid)
        if key is None:
            # The issuer may have a new key since.
            key = _named(await self._keys.newer(), kid)
        if key is None:
            raise Untrue("signed by a key that the issuer does not publish")
        return key

    async def _fetch(self) -> list[Any]:
        url = self._keys_url or await self._discover()
        keys = _keys_of(self._fine(await self._outgoing.get(self._name, url)))
        if not keys:
            log.warning("an issuer publishes no key of use", provider=self._name)
            raise ProviderAway(self._name)
        return keys

    async def _discover(self) -> str:
        (issuer,) = self._trust.issuers
        body = self._fine(await self._outgoing.get(self._name, issuer.rstrip("/") + DISCOVERY_PATH))
        try:
            found = msgspec.json.decode(body, type=Discovered)
        except (ValueError, RecursionError):
            found = Discovered("", "")
        if found.issuer != issuer:
            log.warning("an issuer describes another one", provider=self._name, issuer=found.issuer)
            raise ProviderAway(self._name)
        return found.jwks_uri

    def _fine(self, answer: Answer) -> bytes:
        if answer.status != 200:
            log.warning("keys of an issuer cannot be had", provider=self._name, status=answer.status)
            raise ProviderAway(self._name)
        return answer.body


def refused(name: str, reason: Untrue) -> BadProof:
    """The error for a proof that proves nothing; the reason is for the log alone."""
    log.debug("a proof was refused", provider=name, reason=str(reason))
    return BadProof(f"Could not authenticate {name} profile.")


def _named(keys: list[Any], kid: str | None) -> Any:
    """The key of an id; without one, the only key there is."""
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.kid == kid), None)


def _keys_of(body: bytes) -> list[Any]:
    """The keys of a set that can check signatures; others are passed over."""
    # Loaded when first needed, as is the HTTP client: it takes a while.
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    try:
        found = _decode_keys(body).get("keys")
    except (ValueError, RecursionError):
        return []
    keys = []
    for entry in found[:KEYS_MAX] if isinstance(found, list) else []:
        if isinstance(entry, dict) and entry.get("kty") in KEY_KINDS and entry.get("use") in (None, "sig"):
            try:
                keys.append(import_key(entry))
            except (JoseError, ValueError, TypeError):
                log.warning("a published key cannot be read", kid=str(entry.get("kid")))
    return keys


def _checked_payload(token: str, key: Any) -> bytes:
    """The payload of a token whose signature is right. Raises Untrue."""
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry, deserialize_compact

    # Issuers put things of their own into the header; what is marked critical is still refused.
    registry = JWSRegistry(algorithms=rules.ALGORITHMS, strict_check_header=False)
    try:
        return deserialize_compact(token, key, registry=registry).payload
    except (JoseError, ValueError, RecursionError) as error:
        raise Untrue(f"the signature is wrong: {type(error).__name__}") from None
