"""Game Center: a signature by Apple over player, game and moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palestra.core.clock import Clock, utc
from palestra.core.errors import PalestraError
from palestra.core.social_settings import GameCenterSettings
from palestra.features.identity import rules
from palestra.features.identity.contract import GameCenterProof, NotConfigured, Profile
from palestra.features.identity.published import Published
from palestra.features.identity.rules import Untrue
from palestra.features.identity.tokens import refused
from palestra.gateway.outgoing import Outgoing

# The library of certificates is loaded when first needed, as is the HTTP client: it takes a while.
if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CERTIFICATES_MAX = 16


class GameCenter:
    """Implements `Provider`. The player names the address of the key; Apple's own host is what makes it Apple's."""

    name = "GameCenter"

    def __init__(self, settings: GameCenterSettings, loopback_http: bool, outgoing: Outgoing, clock: Clock) -> None:
        self.configured = bool(settings.bundle_ids)
        self._settings = settings
        self._loopback_http = loopback_http
        self._outgoing = outgoing
        self._clock = clock
        self._certificates: dict[str, Published[Certificate]] = {}

    async def verify(self, proof: GameCenterProof, nonce: str = "") -> Profile:
        """See Provider.verify; there is no nonce, the moment of signing takes its place."""
        if not self.configured:
            raise NotConfigured(self.name)
        settings = self._settings
        try:
            rules.check_game_center(proof, settings.bundle_ids, settings.signature_seconds_max, self._clock.now())
            signed, signature = rules.game_center_signed(proof)
            if not rules.is_key_url(proof.public_key_url, settings.key_host, self._loopback_http):
                raise Untrue("a key from somewhere else than Apple")
            _check_signature(await self._certificate(proof.public_key_url), signature, signed, self._clock.now())
        except Untrue as error:
            raise refused(self.name, error) from None
        return Profile(proof.player_id)

    async def _certificate(self, url: str) -> Certificate:
        published = self._certificates.get(url)
        if published is None:
            if len(self._certificates) >= CERTIFICATES_MAX:
                del self._certificates[next(iter(self._certificates))]
            published = self._certificates[url] = Published(self.name, lambda: self._fetch(url), self._clock)
        try:
            return await published.get()
        except (PalestraError, Untrue):
            # Whatever address somebody made up must not take the place of a real one.
            self._certificates.pop(url, None)
            raise

    async def _fetch(self, url: str) -> Certificate:
        from cryptography.x509 import load_der_x509_certificate

        answer = await self._outgoing.get(self.name, url)
        if answer.status != 200:
            raise Untrue(f"there is no key at its address: status {answer.status}")
        try:
            return load_der_x509_certificate(answer.body)
        except ValueError:
            raise Untrue("there is no certificate at its address") from None


def _check_signature(certificate: Certificate, signature: bytes, signed: bytes, now: float) -> None:
    """Whether the holder of a certificate signed. Raises Untrue."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    if not certificate.not_valid_before_utc <= utc(now) <= certificate.not_valid_after_utc:
        raise Untrue("the certificate is not valid now")
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise Untrue("the certificate holds another kind of key")
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise Untrue("the signature is wrong") from None
