"""Taking browser files from npm: whole and verified, or not at all. A script of a few lines plays npm here."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tools import browser_files

CONTENT = b"export const answer = 42;\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "published.tgz"
    with tarfile.open(path, "w:gz") as packed:
        entry = tarfile.TarInfo("package/dist/thing.mjs")
        entry.size = len(CONTENT)
        packed.addfile(entry, io.BytesIO(CONTENT))
    return path


@pytest.fixture
def npm(tmp_path: Path, archive: Path) -> str:
    """A command that delivers the archive, as `npm pack --json --pack-destination DIRECTORY NAME` does."""
    command = tmp_path / "npm"
    command.write_text(f'#!/bin/sh\ncp "{archive}" "$4/thing-1.0.0.tgz"\n')
    command.chmod(0o755)
    return str(command)


def _publish(monkeypatch: pytest.MonkeyPatch, digest_of: bytes, member: str = "dist/thing.mjs") -> None:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(digest_of).digest()).decode()
    package = browser_files.Package("thing", "1.0.0", integrity, member, "MIT")
    monkeypatch.setattr(browser_files, "PACKAGES", (package,))


def test_a_file_arrives_and_is_not_fetched_again(
    tmp_path: Path, archive: Path, npm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, archive.read_bytes())
    assert not browser_files.are_present(tmp_path)
    browser_files.take(tmp_path, npm)
    assert (browser_files.vendor_directory(tmp_path) / "thing.mjs").read_bytes() == CONTENT
    assert browser_files.are_present(tmp_path)
    browser_files.take(tmp_path, None)


def test_a_file_with_another_digest_is_refused(tmp_path: Path, npm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(monkeypatch, b"what was reviewed")
    with pytest.raises(browser_files.BrowserFilesError, match="pinned digest"):
        browser_files.take(tmp_path, npm)
    assert list(browser_files.vendor_directory(tmp_path).iterdir()) == []


def test_a_package_without_the_file_is_refused(
    tmp_path: Path, archive: Path, npm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, archive.read_bytes(), member="dist/other.mjs")
    with pytest.raises(browser_files.BrowserFilesError, match=r"dist/other\.mjs"):
        browser_files.take(tmp_path, npm)


def test_without_npm_the_message_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(browser_files.BrowserFilesError, match=r"install Node\.js"):
        browser_files.take(tmp_path, None)


def test_a_new_version_replaces_the_old_file(
    tmp_path: Path, archive: Path, npm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = browser_files.vendor_directory(tmp_path)
    vendor.mkdir(parents=True)
    (vendor / "thing.mjs").write_bytes(b"old")
    (vendor / "VERSIONS.txt").write_text("thing.mjs  thing 0.9.0  MIT\n")
    _publish(monkeypatch, archive.read_bytes())
    browser_files.take(tmp_path, npm)
    assert (vendor / "thing.mjs").read_bytes() == CONTENT
