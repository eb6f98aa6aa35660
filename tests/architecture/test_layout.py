"""How files look: a docstring first, no vague names, bounded length, feature packages that run nothing."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator

from tests.architecture.sources import PACKAGE, ROOT, Module, modules

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
DOCSTRING_WORDS_MIN = 3


def test_every_file_opens_by_saying_what_it_holds() -> None:
    wrong = [
        module.where
        for module in modules().values()
        if len((ast.get_docstring(module.tree) or "").split()) < DOCSTRING_WORDS_MIN
    ]
    assert not wrong, "\n".join(wrong)


def test_the_package_of_a_feature_is_a_docstring_and_nothing_else() -> None:
    wrong = [
        module.where
        for module in modules().values()
        if module.name.startswith("palestra.features.") and module.is_package and len(module.tree.body) != 1
    ]
    assert not wrong, "\n".join(wrong)


def test_a_folder_holds_one_feature_and_is_a_package() -> None:
    folders = {path.name for path in (PACKAGE / "features").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {name for name in folders if f"palestra.features.{name}" not in modules()} == set()


def test_names_say_what_is_inside() -> None:
    assert [m.where for m in modules().values() if VAGUE_NAMES & set(m.name.split("."))] == []


def test_files_stay_short_but_for_the_listed_ones() -> None:
    lengths = {m.where: len(m.path.read_text(encoding="utf-8").splitlines()) for m in modules().values()}
    too_long = {where: lines for where, lines in lengths.items() if lines > FILE_LINES_MAX}
    assert too_long == _listed("file_lines"), "update tests/architecture/ratchet.toml only downwards"


def test_functions_stay_short_but_for_the_listed_ones() -> None:
    too_long = {
        f"{module.where}::{name}": lines
        for module in modules().values()
        for name, lines in _functions(module)
        if lines > FUNCTION_LINES_MAX
    }
    assert too_long == _listed("function_lines"), "update tests/architecture/ratchet.toml only downwards"


def _listed(section: str) -> dict[str, int]:
    return tomllib.loads((ROOT / "tests" / "architecture" / "ratchet.toml").read_text(encoding="utf-8"))[section]


def _functions(module: Module) -> Iterator[tuple[str, int]]:
    """Every function with the names around it, and its length from `def` to its last line."""

    def walk(node: ast.AST, around: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield ".".join([*around, child.name]), (child.end_lineno or child.lineno) - child.lineno + 1
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from walk(child, (*around, child.name) if inner else around)

    return walk(module.tree, ())
