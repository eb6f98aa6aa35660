"""Pages of documentation: links lead somewhere, and every page can be found."""

from __future__ import annotations

import re

from tests.docs.pages import DOCS, ROOT, links, pages

README_LINES_MAX = 120
DECISION_LINES_MAX = 50


def test_links_between_pages_lead_to_files() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in links(page)
        if not (page.parent / target).exists()
    ]
    assert not broken, "\n".join(broken)


def test_every_page_of_the_site_is_in_its_navigation() -> None:
    listed = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in pages() if DOCS in page.parents)


def test_the_site_links_only_to_its_own_pages() -> None:
    outside = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        if DOCS in page.parents
        for target in links(page)
        if DOCS not in (page.parent / target).resolve().parents
    ]
    assert not outside, "\n".join(outside)


def test_the_readme_and_the_decisions_stay_short() -> None:
    files = {ROOT / "README.md": README_LINES_MAX}
    files |= dict.fromkeys((DOCS / "decisions").glob("*.md"), DECISION_LINES_MAX)
    long = [file.name for file, limit in files.items() if len(file.read_text(encoding="utf-8").splitlines()) > limit]
    assert not long
