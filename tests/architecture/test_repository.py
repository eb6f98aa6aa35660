"""What the repository as a whole promises about the files that it tracks."""

from __future__ import annotations

import subprocess

from tests.architecture.sources import ROOT

# Put together from halves, so that this file does not hold them.
WORKPLACE_PATHS = ("/wor" + "k/", ".librar" + "y", "/far" + "m/")


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def test_no_tracked_file_names_a_place_outside_the_repository() -> None:
    tracked = [name for name in _tracked() if (ROOT / name).is_file()]
    assert "pyproject.toml" in tracked
    wrong = [
        f"{name} holds {needle}"
        for name in tracked
        for needle in WORKPLACE_PATHS
        if needle.encode() in (ROOT / name).read_bytes()
    ]
    assert not wrong, "\n".join(wrong)


def test_third_party_browser_files_are_not_committed() -> None:
    assert [name for name in _tracked() if "/vendor/" in name or "node_modules/" in name] == []
