"""From method and path to operation: exact paths by one look-up, paths with parameters by a tree of segments."""

from __future__ import annotations

from collections.abc import Iterable

from palestra.gateway.operation import Operation

_DOTS = (".", "..")


class _Node:
    __slots__ = ("children", "methods", "names", "parameter")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, Operation] = {}
        self.names: dict[str, tuple[str, ...]] = {}


Found = tuple[Operation | None, tuple[str, ...], tuple[str, ...]]


class Router:
    """The operation table, compiled. Literal segments win over parameters."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._exact: dict[str, dict[str, Operation]] = {}
        self._root = _Node()
        for operation in operations:
            segments = operation.path.split("/")[1:]
            if "{" not in operation.path:
                methods = self._exact.setdefault(operation.path, {})
                if operation.method in methods:
                    raise ValueError(f"{operation.method} {operation.path} stands twice in the operation table")
                methods[operation.method] = operation
            node = self._root
            names: list[str] = []
            for segment in segments:
                if segment.startswith("{"):
                    names.append(segment[1:-1])
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.children.setdefault(segment, _Node())
            node.methods[operation.method] = operation
            node.names[operation.method] = tuple(names)

    def find(self, method: str, path: str) -> Found | None:
        """(operation, parameter names, their values), or None for an unknown path; operation None: wrong verb."""
        methods = self._exact.get(path)
        if methods is not None and (operation := methods.get(method)) is not None:
            return operation, (), ()
        values: list[str] = []
        node = self._walk(self._root, path.split("/")[1:], 0, values)
        if node is None:
            return None
        operation = node.methods.get(method)
        if operation is None:
            return None, (), ()
        return operation, node.names[method], tuple(values)

    def _walk(self, node: _Node, segments: list[str], at: int, values: list[str]) -> _Node | None:
        if at == len(segments):
            return node if node.methods else None
        segment = segments[at]
        child = node.children.get(segment)
        if child is not None and (found := self._walk(child, segments, at + 1, values)) is not None:
            return found
        # A path with empty or dotted segments within it is another path misspelt; only the last may be empty.
        if node.parameter is not None and segment not in _DOTS and (segment or at == len(segments) - 1):
            values.append(segment)
            if (found := self._walk(node.parameter, segments, at + 1, values)) is not None:
                return found
            values.pop()
        return None
