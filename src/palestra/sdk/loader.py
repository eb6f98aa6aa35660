"""Finding games: importing a module by path, and noticing when its files change."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from palestra.core.errors import SetupError
from palestra.sdk.game import Game


def load_games(path: Path) -> list[Game]:
    """The games a module declares, its code run afresh. Raises SetupError with the place of what is wrong."""
    path = path.resolve()
    if not path.is_file():
        raise SetupError(f"there is no game module {path}")
    _forget_folder(path.parent)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = f"palestra_game_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SetupError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SetupError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        trace = "".join(traceback.format_exception(error)[2:] if len(traceback.format_exception(error)) > 3 else [])
        raise SetupError(f"{path} cannot be loaded: {type(error).__name__}: {error}\n{trace}".rstrip()) from error
    games = _games_in(module)
    if not games:
        raise SetupError(f'{path} declares no game; add `game = Game("{path.stem}")`')
    return games


def _games_in(module: ModuleType) -> list[Game]:
    found: list[Game] = []
    for value in vars(module).values():
        if isinstance(value, Game) and value not in found:
            found.append(value)
    return found


def _forget_folder(folder: Path) -> None:
    """Modules beside the game's are part of it: forget them, so that they are imported anew."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).parent == folder and not name.startswith("palestra."):
            del sys.modules[name]
    importlib.invalidate_caches()


class Changes:
    """Tells when a Python file in the folders of some modules has changed."""

    def __init__(self, modules: list[Path]) -> None:
        self._folders = {module.resolve().parent for module in modules}
        self._seen = self._state()

    def _state(self) -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for folder in self._folders for file in folder.glob("*.py")}

    def happened(self) -> bool:
        """Whether anything changed since the last time this was asked."""
        try:
            state = self._state()
        except FileNotFoundError:
            return False
        changed = state != self._seen
        self._seen = state
        return changed
