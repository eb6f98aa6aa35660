"""Shapes of states: from typed structs to trees of dicts, lists and scalars that can be compared and encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect as inspect
from msgspec.structs import astuple

from palestra.core.errors import SetupError

Key = str | tuple[str, int]
"""A field on the wire: its name, and for quantised fields how many steps make one."""

Plain = Callable[[Any], Any]

_STEP = "palestra.step"
_WHOLE_MAX = 2**53
"""Beyond it a float, as many clients have it, does not hold every whole number."""
_SCALARS = (
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BoolType,
    inspect.NoneType,
    inspect.LiteralType,
)


def quantised(step: float) -> msgspec.Meta:
    """Send floats of a field to the nearest multiple of `step`: `x: Annotated[float, quantised(0.01)]`.

    The state itself keeps its precision. Smaller messages, and none for movements below a step. Lists, tuples and dicts
    of floats may be quantised as well. `step` is 1 divided by a whole number. Raises SetupError.
    """
    if not 0 < step <= 1 or abs(1 / step - round(1 / step)) > 1e-6:
        raise SetupError(f"quantised({step}): a step is 1 divided by a whole number, such as 1, 0.5, 0.1 or 0.01")
    return msgspec.Meta(extra={_STEP: round(1 / step)})


class _Flat(NamedTuple):
    """A struct of nothing but scalars, which is kept alive so that its id stays its own; its fields; its tree."""

    value: Any
    row: tuple[Any, ...]
    tree: dict[str | int, Any]


class Shape:
    """How the states of one match become trees.

    `numbered` trees have the index in `keys` instead of the name of a field, and whole numbers of steps instead of
    quantised floats. Trees are never changed once made, so what is flat and has not changed keeps its tree.
    """

    def __init__(self, kinds: Sequence[Any], *, numbered: bool) -> None:
        self.numbered = numbered
        self.keys: list[Key] = []
        self._numbers: dict[Key, int] = {}
        self._structs: dict[type, Plain] = {}
        self._flat: dict[int, _Flat] = {}
        self._flat_before: dict[int, _Flat] = {}
        # One look at all kinds, so that structs they share are read once.
        for info in inspect.multi_type_info(kinds):
            self._plain(info, None)

    def trees(self, values: Iterable[Any]) -> list[Any]:
        """The trees of what players see at one moment; they share nothing that could change with it."""
        self._flat_before, self._flat = self._flat, {}
        return [self._structs.get(type(value), _builtins)(value) for value in values]

    def _key(self, name: str, steps: int | None) -> str | int:
        if not self.numbered:
            return name
        key = name if steps is None else (name, steps)
        if key not in self._numbers:
            self._numbers[key] = len(self.keys)
            self.keys.append(key)
        return self._numbers[key]

    def _plain(self, info: inspect.Type, steps: int | None) -> Plain | None:
        """What makes trees of values of a type; None where values are trees already."""
        match info:
            case inspect.Metadata():
                return self._plain(info.type, steps)
            case inspect.UnionType():
                return self._union(info, steps)
            case inspect.ListType() | inspect.VarTupleType():
                return _each(self._plain(info.item_type, steps))
            case inspect.TupleType():
                return _each_of([self._plain(item, steps) for item in info.item_types])
            case inspect.DictType() if isinstance(info.key_type, inspect.StrType | inspect.IntType):
                return _entries(self._plain(info.value_type, steps), isinstance(info.key_type, inspect.IntType))
            case inspect.FloatType() if steps is not None:
                return _in_steps(steps, whole=self.numbered)
            case _ if steps is not None:
                raise SetupError("only floats can be quantised, and lists, tuples and dicts of floats")
            case inspect.StructType() if not info.array_like:
                return self._struct(info)
        return None if isinstance(info, _SCALARS) else _builtins

    def _struct(self, info: inspect.StructType) -> Plain:
        kind = info.cls
        if kind in self._structs:
            return self._structs[kind]
        keys: list[str | int] = []
        inner: list[tuple[str | int, Plain]] = []
        tag = {} if info.tag_field is None else {self._key(info.tag_field, None): info.tag}

        def tree_of(row: tuple[Any, ...]) -> dict[str | int, Any]:
            tree: dict[str | int, Any] = dict(zip(keys, row, strict=True))
            for key, convert in inner:
                tree[key] = convert(tree[key])
            return tree | tag if tag else tree

        def plain(value: Any) -> Any:
            return tree_of(astuple(value)) if type(value) is kind else _builtins(value)

        def plain_flat(value: Any) -> Any:
            name = id(value)
            if (known := self._flat.get(name)) is not None:
                return known.tree
            if type(value) is not kind:
                return _builtins(value)
            row = astuple(value)
            known = self._flat_before.get(name)
            if known is None or known.value is not value or known.row != row:
                known = _Flat(value, row, tree_of(row))
            self._flat[name] = known
            return known.tree

        flat = all(_is_scalar(field.type) for field in info.fields)
        # Before its fields are read: they may hold structs of this kind.
        self._structs[kind] = plain_flat if flat else plain
        for field in info.fields:
            steps = _steps_in(field.type)
            key = self._key(field.encode_name, steps)
            keys.append(key)
            if (convert := self._plain(field.type, steps)) is not None:
                inner.append((key, convert))
        return self._structs[kind]

    def _union(self, info: inspect.UnionType, steps: int | None) -> Plain | None:
        structs = {one.cls: self._plain(one, None) for one in info.types if isinstance(one, inspect.StructType)}
        others = [one for one in info.types if not isinstance(one, inspect.StructType | inspect.NoneType)]
        rest = self._plain(others[0], steps) if len(others) == 1 else _builtins if others else None
        if not structs and (rest is None or (all(isinstance(one, _SCALARS) for one in others) and steps is None)):
            return None

        def plain(value: Any) -> Any:
            if value is None:
                return None
            convert = structs.get(type(value), rest)
            return value if convert is None else convert(value)

        return plain


def _is_scalar(info: inspect.Type) -> bool:
    match info:
        case inspect.Metadata():
            return _is_scalar(info.type)
        case inspect.UnionType():
            return all(_is_scalar(part) for part in info.types)
    return isinstance(info, _SCALARS)


def _builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True, order="deterministic")


def _in_steps(steps: int, *, whole: bool) -> Plain:
    def plain(value: float) -> float | None:
        try:
            count = round(value * steps)
        except (OverflowError, ValueError):  # infinity and NaN, for which JSON has no word either
            return None
        if whole:
            return count if -_WHOLE_MAX < count < _WHOLE_MAX else float(count)
        return count / steps

    return plain


def _each(convert: Plain | None) -> Plain:
    return list if convert is None else lambda items: [convert(item) for item in items]


def _each_of(converts: list[Plain | None]) -> Plain:
    return lambda items: [
        item if convert is None else convert(item) for item, convert in zip(items, converts, strict=True)
    ]


def _entries(convert: Plain | None, numbers: bool) -> Plain:
    if numbers:
        return lambda entries: {str(key): convert(value) if convert else value for key, value in entries.items()}
    return dict if convert is None else lambda entries: {key: convert(value) for key, value in entries.items()}


def _steps_in(info: inspect.Type) -> int | None:
    """How many steps make one in a field, None if it is not quantised. Raises SetupError when it has two answers."""
    match info:
        case inspect.Metadata():
            own = (info.extra or {}).get(_STEP)
            return _steps_in(info.type) if own is None else own
        case inspect.ListType() | inspect.VarTupleType():
            return _steps_in(info.item_type)
        case inspect.DictType():
            return _steps_in(info.value_type)
        case inspect.TupleType():
            parts = info.item_types
        case inspect.UnionType():
            parts = tuple(part for part in info.types if not isinstance(part, inspect.NoneType))
        case _:
            return None
    found = {_steps_in(part) for part in parts}
    if len(found) > 1:
        raise SetupError("a field is quantised as a whole: by one step, and all of its numbers")
    return found.pop() if found else None
