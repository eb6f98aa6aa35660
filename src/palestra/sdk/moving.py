"""How a match is written for another node, and read there."""

from __future__ import annotations

import inspect
import typing
from typing import Any, TypeVar

import msgspec
import msgspec.inspect

from palestra.core.errors import SetupError
from palestra.core.tasks import ends_task
from palestra.features.matches.contract import CannotMove
from palestra.sdk.followers import state_of

_write = msgspec.msgpack.Encoder(order="deterministic").encode
_OURS = {"state", "_desk", "_context"}
_SCALARS = {bool, int, float, str, bytes, type(None)}


class _Written(msgspec.Struct, array_like=True):
    own: dict[str, Any]
    snapshot: msgspec.Raw


_written = msgspec.msgpack.Decoder(_Written).decode


class Moving:
    """Snapshots of matches of one class: by its own `snapshot` and `restore`, otherwise of its typed state.

    `reason` says why there are none, "" where there are. Raises SetupError for a class that has only half of it.
    """

    def __init__(self, code: type, match: type, place: str) -> None:
        self.reason = ""
        own = {name: getattr(code, name) for name in ("snapshot", "restore")}
        written = [name for name, method in own.items() if method is not getattr(match, name)]
        if len(written) == 1 or any(inspect.iscoroutinefunction(method) for method in own.values()):
            raise SetupError(f"{place}: snapshot and restore go together, and neither is an `async def`")
        self._by_game = bool(written)
        kind = _taken_by(own["restore"], place) if self._by_game else state_of(code, match)
        if not self._by_game and (kind is None or kind is Any or isinstance(kind, TypeVar)):
            self.reason = "name the type of the state, Match[State], or write snapshot and restore"
            return
        try:
            self._read = msgspec.msgpack.Decoder(kind).decode
            if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
                raise TypeError(f"{kind!r} is neither a msgspec.Struct nor a dataclass nor a plain type")
        except TypeError as error:
            self.reason = f"it cannot be read again: {error}"

    def write(self, match: Any) -> bytes:
        """All that a match knows. Raises CannotMove."""
        if self.reason:
            raise CannotMove(self.reason)
        own = {} if self._by_game else {name: value for name, value in vars(match).items() if name not in _OURS}
        for name, value in own.items():
            if type(value) not in _SCALARS:
                raise CannotMove(f"self.{name} is not in self.state: keep it there, or write snapshot and restore")
        try:
            return _write((own, match.snapshot()))
        except Exception as error:
            if ends_task(error):
                raise
            raise CannotMove(f"it cannot be written: {type(error).__name__}: {error}") from error

    def read(self, written: bytes) -> tuple[dict[str, Any], Any]:
        """Attributes outside of the state, and what `restore` takes. Raises CannotMove."""
        if self.reason:
            raise CannotMove(self.reason)
        try:
            parts = _written(written)
            return parts.own, self._read(parts.snapshot)
        except (msgspec.DecodeError, RecursionError) as error:
            raise CannotMove(f"it cannot be read: {error}") from None


def _taken_by(restore: Any, place: str) -> Any:
    parameter = list(inspect.signature(restore).parameters)[-1]
    try:
        return typing.get_type_hints(restore, include_extras=True).get(parameter, Any)
    except NameError as error:
        raise SetupError(f"{place}: the type of restore's {parameter!r} cannot be read: {error}") from None
