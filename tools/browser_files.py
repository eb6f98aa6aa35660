"""Takes the third-party browser files by package name from npm and puts them where the platform serves them from.

Standard library only: `./dev` calls it with the system's Python, the build hook inside an isolated build.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

NPM_TIMEOUT_SECONDS = 120


class Package(NamedTuple):
    """One npm package at one version, and the single file of it that a browser loads."""

    name: str
    version: str
    integrity: str
    """`sha512-<base64>` of the packed archive, as npm publishes it."""
    member: str
    """Path of the file inside the package."""
    licence: str


PACKAGES = (
    Package(
        name="@heroiclabs/nakama-js",
        version="2.8.0",
        integrity="sha512-E3bH/pqosASGHmVttsa708UjoLYkzZ4Sy3JUZV0TMK3oZK19QVyKrWhqjwyFwvKI2WyVf30xiRD+2ffvmfpw4A==",
        member="dist/nakama-js.esm.mjs",
        licence="Apache-2.0",
    ),
    Package(
        name="@heroiclabs/nakama-js-protobuf",
        version="1.4.0",
        integrity="sha512-3Jl8/pLl4V/YgHNlRTbyldjEkSqzIUX4H8zWF3DFrZGkep8bgEuBFDB1l6uAcpMGf3/XIs+6YAy6+WgC7Z+JGQ==",
        member="dist/nakama-js-protobuf.esm.mjs",
        licence="Apache-2.0",
    ),
)


class BrowserFilesError(Exception):
    """The files could not be taken; the message says why and what to do."""


def vendor_directory(root: Path) -> Path:
    """The folder that receives the files: one flat folder, named after nothing but the files in it."""
    return root / "src" / "palestra" / "_web" / "vendor"


def are_present(root: Path) -> bool:
    """Whether every file is there in the pinned version. Reads one small file."""
    vendor = vendor_directory(root)
    try:
        listed = (vendor / "VERSIONS.txt").read_text(encoding="utf-8")
    except OSError:
        return False
    return listed == _versions() and all((vendor / Path(p.member).name).is_file() for p in PACKAGES)


def take(root: Path, npm: str | None) -> None:
    """Download what is missing with the given npm command and verify it against the pinned digest.

    A file appears whole or not at all. Raises BrowserFilesError when there is no npm, no network or a wrong digest.
    """
    if are_present(root):
        return
    if npm is None:
        raise BrowserFilesError("npm was not found on PATH; install Node.js (it brings npm) and run this again")
    vendor = vendor_directory(root)
    vendor.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        with tempfile.TemporaryDirectory(prefix="browser-files-") as scratch:
            content = _member(_archive(npm, package, Path(scratch)), package)
        partial = vendor / (Path(package.member).name + ".partial")
        partial.write_bytes(content)
        partial.replace(vendor / Path(package.member).name)
    (vendor / "VERSIONS.txt").write_text(_versions(), encoding="utf-8")


def find_npm(*more_places: Path) -> str | None:
    """The npm command: on PATH, else in one of the given folders."""
    found = [shutil.which("npm"), *(shutil.which("npm", path=place) for place in more_places)]
    return next((path for path in found if path is not None), None)


def _versions() -> str:
    return "".join(f"{Path(p.member).name}  {p.name} {p.version}  {p.licence}\n" for p in PACKAGES)


def _archive(npm: str, package: Package, scratch: Path) -> Path:
    wanted = f"{package.name}@{package.version}"
    command = [npm, "pack", "--json", "--pack-destination", str(scratch), wanted]
    try:
        done = subprocess.run(
            command, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=NPM_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrowserFilesError(f"npm could not fetch {wanted}: {error}") from error
    archives = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise BrowserFilesError(f"npm could not fetch {wanted}: {_reason(done)}")
    digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise BrowserFilesError(f"{wanted} does not have the pinned digest: got sha512-{digest}")
    return archives[0]


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    try:
        return json.loads(done.stdout)["error"]["summary"]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["no reason given"]
        return lines[-1]


def _member(archive: Path, package: Package) -> bytes:
    with tarfile.open(archive) as packed:
        stream = packed.extractfile(f"package/{package.member}") if _has(packed, package) else None
        if stream is None:
            raise BrowserFilesError(f"{package.name}@{package.version} holds no file {package.member}")
        return stream.read()


def _has(packed: tarfile.TarFile, package: Package) -> bool:
    return f"package/{package.member}" in packed.getnames()
