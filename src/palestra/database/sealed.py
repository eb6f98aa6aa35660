"""Encryption of what may not lie in the database in the clear, and blind indexes to find it again."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from palestra.core.errors import SetupError

KEY_BYTES = 32
KEY_ID_BYTES = 4
NONCE_BYTES = 12
_LAYOUT = b"\x01"
_HEADER_BYTES = len(_LAYOUT) + KEY_ID_BYTES
_TAG_BYTES = 16


class SealBroken(Exception):
    """A sealed value cannot be opened: it was changed, belongs to another row, or its key is missing."""


class KeySource(Protocol):
    """Where keys come from: a file here, a key service elsewhere, which unwraps them once and holds them in memory."""

    @property
    def active(self) -> str:
        """The id, eight hex digits, of the key that seals."""
        ...

    @property
    def index_key(self) -> bytes:
        """The 32 bytes that key the blind indexes. It can never change without indexing every row anew."""
        ...

    def key(self, key_id: str) -> bytes:
        """The 32 bytes of a key. Raises KeyError when there is none of that id."""
        ...


class _Ring(msgspec.Struct, forbid_unknown_fields=True):
    """The file: keys in base64 by their ids."""

    active: str
    keys: dict[str, str]
    index_key: str


class KeyRing:
    """Keys in a JSON file that only its owner may read. Implements `KeySource`.

    Whoever has this file can read what is sealed; without it nobody can. Back it up apart from the database.
    """

    def __init__(self, path: Path, ring: _Ring) -> None:
        self._path = path
        self._ring = ring
        self._keys = {key_id: _decoded(text, path) for key_id, text in ring.keys.items()}
        self.active = ring.active
        self.index_key = _decoded(ring.index_key, path)
        if any(len(key_id) != 2 * KEY_ID_BYTES or not _is_hex(key_id) for key_id in self._keys):
            raise SetupError(f"the ids of keys in {path} must be {2 * KEY_ID_BYTES} hex digits each")
        if self.active not in self._keys:
            raise SetupError(f"the key ring {path} has no key {self.active!r}, which it says is active")

    @classmethod
    def load_or_create(cls, path: Path) -> KeyRing:
        """The ring in a file, which is made with fresh keys when there is none; nodes may do so at the same time.

        Raises SetupError when the file is open to other accounts, damaged, or cannot be read or made.
        """
        try:
            if not path.exists():
                key_id, key = _new_key()
                _create(path, _Ring(key_id, {key_id: key}, _new_key()[1]))
            return cls._load(path)
        except OSError as error:
            raise SetupError(f"the key ring {path} cannot be used: {error}") from error

    @classmethod
    def load(cls, path: Path) -> KeyRing | None:
        """The ring in a file, None when there is no such file. Raises SetupError as `load_or_create` does."""
        try:
            return cls._load(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SetupError(f"the key ring {path} cannot be used: {error}") from error

    @classmethod
    def _load(cls, path: Path) -> KeyRing:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise SetupError(
                    f"the key ring {path} can be read by other accounts (mode {mode:04o}).\n"
                    f"Close it (chmod 600 {path}); if somebody may have read it, rotate its keys."
                )
            try:
                return cls(path, msgspec.json.decode(file.read(), type=_Ring))
            except msgspec.DecodeError as error:
                raise SetupError(f"the key ring {path} is damaged ({error}): restore it from its backup") from error

    def key(self, key_id: str) -> bytes:
        """The 32 bytes of a key. Raises KeyError when there is none of that id."""
        return self._keys[key_id]

    def rotate(self) -> KeyRing:
        """The ring with a fresh active key, written to the file first. What the old keys sealed still opens."""
        key_id, key = _new_key()
        while key_id in self._keys:
            key_id, key = _new_key()
        ring = _Ring(key_id, {**self._ring.keys, key_id: key}, self._ring.index_key)
        new = _written_beside(self._path, ring)
        os.replace(new, self._path)
        _sync_directory(self._path.parent)
        return KeyRing(self._path, ring)

    def __repr__(self) -> str:
        # Keys must never reach a log by way of a traceback.
        return f"KeyRing({str(self._path)!r}, active={self.active!r}, {len(self._keys)} keys)"


class Sealer:
    """Seals texts with AES-256-GCM and opens them again. About 2 µs a call, no input or output.

    A sealed value is one byte of layout version, four of key id, twelve of nonce, the ciphertext and its tag. Nonces
    are random: rotate a key before it has sealed four billion values.
    """

    def __init__(self, source: KeySource) -> None:
        self._source = source
        # Keyed once and copied for each index: a quarter of the time of the standard library's one-shot function.
        self._index = HMAC(source.index_key, SHA256())
        self._ciphers: dict[bytes, AESGCM] = {}
        self._header = _LAYOUT + bytes.fromhex(source.active)
        self._active = self._cipher(self._header)

    def seal(self, text: str, context: bytes) -> bytes:
        """`text` sealed for one place: `context` names its row and must be given again to open it."""
        nonce = os.urandom(NONCE_BYTES)
        header = self._header
        return header + nonce + self._active.encrypt(nonce, text.encode(), header + context)

    def open(self, sealed: bytes, context: bytes) -> str:
        """The text. Raises SealBroken when it was changed, was sealed for another context, or its key is missing."""
        header = sealed[:_HEADER_BYTES]
        cipher = self._ciphers.get(header) or self._cipher(header)
        nonce_ends = _HEADER_BYTES + NONCE_BYTES
        if len(sealed) < nonce_ends + _TAG_BYTES:
            raise SealBroken(f"a sealed value of {len(sealed)} bytes is cut short")
        try:
            return cipher.decrypt(sealed[_HEADER_BYTES:nonce_ends], sealed[nonce_ends:], header + context).decode()
        except InvalidTag:
            raise SealBroken("a sealed value was changed, or moved here from another row") from None

    def index(self, kind: str, text: str) -> bytes:
        """32 bytes by which to find the row of `text` without reading it; the same text of another kind differs.

        `kind` is a word of the code's own, without NUL; texts that should be found alike must be made alike first.
        """
        index = self._index.copy()
        index.update(f"{kind}\0{text}".encode())
        return index.finalize()

    def signing_key(self, purpose: str, key_id: str | None = None) -> tuple[str, Ed25519PrivateKey]:
        """A key that signs for one purpose, derived from the active key or another of the ring, and that one's id.

        It is the same wherever the ring is, and lies nowhere. Raises KeyError when the ring has no such key.
        """
        key_id = key_id or self._source.active
        derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"palestra sign " + purpose.encode())
        return key_id, Ed25519PrivateKey.from_private_bytes(derived.derive(self._source.key(key_id)))

    def _cipher(self, header: bytes) -> AESGCM:
        if len(header) < _HEADER_BYTES or header[:1] != _LAYOUT:
            raise SealBroken("this is no sealed value of a layout that this version knows")
        key_id = header[1:].hex()
        try:
            cipher = AESGCM(self._source.key(key_id))
        except KeyError:
            raise SealBroken(f"key {key_id} is missing: add it to the key ring from its backup") from None
        self._ciphers[header] = cipher
        return cipher


def _new_key() -> tuple[str, str]:
    """The id and the base64 of a fresh key."""
    return secrets.token_hex(KEY_ID_BYTES), base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _decoded(text: str, path: Path) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise SetupError(f"the key ring {path} is damaged: a key must be {KEY_BYTES} bytes in base64")
    return key


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in text)


def _create(path: Path, ring: _Ring) -> None:
    """Put a ring where there is none: whole or not at all, and never over one that another node has just made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = _written_beside(path, ring)
    try:
        os.link(new, path)
        _sync_directory(path.parent)
    except FileExistsError:
        return
    finally:
        new.unlink()


def _written_beside(path: Path, ring: _Ring) -> Path:
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(ring), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return new


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
