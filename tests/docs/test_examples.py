"""The code that the documentation shows: games are checked as `palestra check` does, tests are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palestra.cli.setup import check_modules
from palestra.core.config import check_production, load_settings
from tests.docs.pages import ROOT, pages, settings_files, sources, unnamed_games

SHOWN = [page for page in pages() if sources(page)]
TESTED = [page for page in SHOWN if any(source.name.startswith("test_") for source in sources(page))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def write_down(page: Path, folder: Path) -> list[Path]:
    """The files of a page as a reader has them at its end."""
    for source in sources(page):
        (folder / source.name).write_text(source.text, encoding="utf-8")
    return sorted({folder / source.name for source in sources(page)})


def test_every_game_in_the_documentation_is_a_file_that_can_be_tried() -> None:
    assert {name_of(page): unnamed_games(page) for page in pages() if unnamed_games(page)} == {}
    assert len(SHOWN) > 4


@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_games_in_the_documentation_hold_no_mistakes(page: Path, tmp_path: Path) -> None:
    for number, source in enumerate(sources(page)):
        if "Game(" in source.text:
            file = tmp_path / f"{number}_{source.name}"
            file.write_text(source.text, encoding="utf-8")
            assert check_modules([file]) == 0


@pytest.mark.parametrize("page", TESTED, ids=name_of)
def test_tests_in_the_documentation_pass_where_a_reader_runs_them(page: Path, tmp_path: Path) -> None:
    tests = [file.name for file in write_down(page, tmp_path) if file.name.startswith("test_")]
    # A process of its own: the reader's pytest knows nothing of this repository's settings and fixtures.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *tests]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def test_settings_files_in_the_documentation_are_understood_and_whole_ones_fit_for_production(tmp_path: Path) -> None:
    shown = [text for page in pages() for text in settings_files(page)]
    assert any("production = true" in text for text in shown)
    for text in shown:
        (tmp_path / "palestra.toml").write_text(text, encoding="utf-8")
        settings = load_settings(file=tmp_path / "palestra.toml").settings
        # The others show what a page is about, to be added.
        if settings.production:
            check_production(settings)
