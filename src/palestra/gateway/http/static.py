"""Static files of a game: folders mapped under a path, read once and kept with their compressed form and tag."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path
from typing import NamedTuple

from palestra.core.errors import SetupError
from palestra.gateway.http.answer import Headers, compressed

FILE_BYTES_MAX = 8 * 1024 * 1024
FILES_MAX = 1_000
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".ts": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/json",
}


class File(NamedTuple):
    """A file ready to be sent."""

    status: int
    body: bytes
    headers: Headers


class _Kept:
    __slots__ = ("body", "headers", "modified_ns", "packed", "path", "tag")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modified_ns = -1
        self.load()

    def load(self) -> None:
        state = self.path.stat()
        if state.st_mtime_ns == self.modified_ns:
            return
        if state.st_size > FILE_BYTES_MAX:
            raise SetupError(f"{self.path} is larger than {FILE_BYTES_MAX} bytes; serve it from object storage instead")
        self.body = self.path.read_bytes()
        self.modified_ns = state.st_mtime_ns
        self.tag = b'"%b"' % hashlib.sha256(self.body).hexdigest()[:24].encode()
        kind = _TYPES.get(self.path.suffix) or mimetypes.guess_type(self.path.name)[0] or "application/octet-stream"
        self.headers: Headers = (
            (b"content-type", kind.encode() + (b"; charset=utf-8" if kind.startswith("text/") else b"")),
            (b"cache-control", b"no-cache"),
            (b"etag", self.tag),
            (b"vary", b"Accept-Encoding"),
            (b"x-content-type-options", b"nosniff"),
        )
        packed, _ = compressed(self.body, b"gzip")
        self.packed = packed if len(packed) < 0.9 * len(self.body) else None


class StaticFiles:
    """Files found by exact path only, so that no request can walk out of its folder. `live` re-reads changed files."""

    def __init__(self, *, live: bool = False) -> None:
        self._files: dict[str, _Kept] = {}
        self._redirects: dict[str, bytes] = {}
        self._live = live

    def mount(self, path: str, folder: Path) -> None:
        """Serve all files below `folder` under `path`; index.html stands for its folder. Raises SetupError."""
        prefix = "/" + path.strip("/")
        if not folder.is_dir():
            raise SetupError(f"static folder {folder} of {prefix} does not exist")
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
                if len(self._files) >= FILES_MAX:
                    raise SetupError(f"more than {FILES_MAX} static files; serve them from object storage instead")
                name = f"{prefix.rstrip('/')}/{file.relative_to(folder).as_posix()}"
                kept = self._files[name] = _Kept(file)
                if file.name == "index.html":
                    self._files[name[: -len("index.html")]] = kept
                    short = name[: -len("/index.html")]
                    if short:
                        self._redirects[short] = short.encode() + b"/"

    def find(self, path: str, accepted: bytes, headers: list[tuple[bytes, bytes]]) -> File | None:
        """The answer for a path, None when no file has it."""
        kept = self._files.get(path)
        if kept is None:
            to = self._redirects.get(path)
            return File(301, b"", ((b"location", to),)) if to else None
        if self._live:
            kept.load()
        if (b"if-none-match", kept.tag) in headers:
            return File(304, b"", kept.headers)
        if kept.packed is not None and b"gzip" in accepted:
            return File(200, kept.packed, (*kept.headers, (b"content-encoding", b"gzip")))
        return File(200, kept.body, kept.headers)
