"""Who may import whom, where import-linter cannot say it: contracts, the core's diet, pure rules, no cycles."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from tests.architecture.sources import Module, imports, modules

CORE_LIBRARIES = {"msgspec", "structlog", "prometheus_client"}
IMPURE_MODULES = {"asyncio", "time", "random", "secrets", "os", "socket", "threading"}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "new_id"}


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _feature(name: str) -> str | None:
    parts = name.split(".")
    return parts[2] if len(parts) > 2 and parts[1] == "features" else None


def _beyond_contracts(module: Module) -> Iterator[str]:
    """Imports of another feature that do not stop at its contract."""
    for found in imports(module):
        other = _feature(found.target)
        if other is None or other == _feature(module.name):
            continue
        if found.target != f"palestra.features.{other}.contract":
            yield f"{module.where}:{found.line} imports {found.target}; only palestra.features.{other}.contract is open"


def test_features_the_sdk_and_the_console_see_only_the_contracts_of_features() -> None:
    rooms = ("palestra.features", "palestra.sdk", "palestra.console")
    watched = [m for m in modules().values() if any(_inside(m.name, room) for room in rooms)]
    assert watched
    wrong = [line for module in watched for line in _beyond_contracts(module)]
    assert not wrong, "\n".join(wrong)


def test_the_console_sees_nothing_but_contracts_the_gateway_and_the_core() -> None:
    rooms = ("palestra.features", "palestra.gateway", "palestra.core", "palestra.console")
    wrong = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in modules().values()
        if _inside(module.name, "palestra.console")
        for found in imports(module)
        if _inside(found.target, "palestra") and not any(_inside(found.target, room) for room in rooms)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_contract_drags_in_nothing_that_implements_it() -> None:
    open_rooms = ("palestra.core", "palestra.gateway")
    wrong = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in modules().values()
        if _feature(module.name) and module.name.endswith(".contract")
        for found in imports(module)
        if _inside(found.target, "palestra")
        and not any(_inside(found.target, room) for room in open_rooms)
        and not found.target.endswith(".contract")
        and not found.for_types_only
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_lives_on_the_standard_library_and_three_packages() -> None:
    allowed = sys.stdlib_module_names | CORE_LIBRARIES
    wrong = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in modules().values()
        if _inside(module.name, "palestra.core")
        for found in imports(module)
        if not _inside(found.target, "palestra.core") and found.target.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_rules_decide_without_waiting_clock_or_chance() -> None:
    rules = [m for m in modules().values() if _feature(m.name) and m.name.endswith(".rules")]
    wrong = []
    for module in rules:
        wrong += [
            f"{module.where}:{found.line} imports {found.target}"
            for found in imports(module)
            if found.target.split(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{module.where}:{node.lineno} waits")
            if isinstance(node, ast.Call) and _called(node) in IMPURE_CALLS:
                wrong.append(f"{module.where}:{node.lineno} calls {_called(node)}()")
    assert not wrong, "\n".join(wrong)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module.name: sorted({i.target for i in imports(module) if not i.for_types_only and i.target in modules()})
        for module in modules().values()
    }
    assert circles(graph) == []


def test_the_search_for_circles_finds_one() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": []}) == [["a", "b", "c"]]
    assert circles({"a": ["a"], "b": []}) == [["a"]]
    assert circles({"a": ["b"], "b": []}) == []


def circles(graph: dict[str, list[str]]) -> list[list[str]]:
    """The strongly connected components that hold a circle, by Tarjan's algorithm (SIAM J. Comput. 1, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(component) > 1 or name in graph[name]:
                found.append(sorted(component))

    for name in graph:
        if name not in index:
            visit(name)
    return found
