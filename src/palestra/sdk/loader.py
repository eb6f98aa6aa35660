"""Finding games: importing modules by path, and noticing when their files change."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from palestra.core.errors import SetupError
from palestra.sdk.game import Game, source_version
from palestra.sdk.traces import trace_of

MODULE_PREFIX = "palestra_game_"
_brought: set[str] = set()
"""Names in `sys.modules` that stand for game code: the modules loaded here, and what they imported from beside them."""


def load_games(modules: Iterable[Path]) -> list[Game]:
    """The games that modules declare, their code run afresh. Raises SetupError with the place of what is wrong."""
    paths = [path.resolve() for path in modules]
    _forget()
    return [game for path in paths for game in _load(path)]


def _load(path: Path) -> list[Game]:
    if not path.is_file():
        raise SetupError(f"there is no game module {path}")
    name = f"{MODULE_PREFIX}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SetupError(f"{path} is not a Python file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    known = set(sys.modules)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (SetupError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise SetupError(f"{path} cannot be loaded\n{trace_of(error)}") from error
    finally:
        _brought.update(new for new in sys.modules.keys() - known if _stands_in(sys.modules[new], path.parent))
    games = list({id(value): value for value in vars(module).values() if isinstance(value, Game)}.values())
    if not games:
        raise SetupError(f'{path} declares no game; add `game = Game("{path.stem}")`')
    version = source_version(path.parent, [path, *_beside(path.parent)])
    for game in games:
        game.version = version
    return games


def _beside(folder: Path) -> list[Path]:
    """The files of what game code imported from a folder: neither game modules themselves nor installed packages."""
    imported = [module for name in _brought if (module := sys.modules.get(name)) and not name.startswith(MODULE_PREFIX)]
    files = [Path(str(module.__file__)).resolve() for module in imported if _stands_in(module, folder)]
    return [file for file in files if "site-packages" not in file.parts]


def _stands_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and folder in Path(file).resolve().parents


def _forget() -> None:
    """Let game code be imported anew. Its compiled files go too: they are told apart by whole seconds only."""
    for name in _brought:
        module = sys.modules.pop(name, None)
        file = getattr(module, "__file__", None)
        if file is not None:
            with contextlib.suppress(OSError, NotImplementedError):
                Path(importlib.util.cache_from_source(file)).unlink(missing_ok=True)
    _brought.clear()
    importlib.invalidate_caches()


class Changes:
    """Tells when a Python file beside some modules, or in a package beside them, has changed."""

    def __init__(self, modules: Iterable[Path]) -> None:
        self._folders = {module.resolve().parent for module in modules}
        self._seen = self._state()

    def _state(self) -> dict[Path, int]:
        state: dict[Path, int] = {}
        for folder in self._folders:
            for file in (*folder.glob("*.py"), *folder.glob("*/*.py")):
                # An editor may replace a file just now; its new self is seen next time.
                with contextlib.suppress(FileNotFoundError):
                    state[file] = file.stat().st_mtime_ns
        return state

    def happened(self) -> bool:
        """Whether anything changed since the last time this was asked."""
        state = self._state()
        changed = state != self._seen
        self._seen = state
        return changed
