"""Structured logging: one JSON line per event, or aligned text on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def get_logger(name: str) -> Any:
    """A structured logger: `log.info("what happened", key=value)`."""
    return structlog.get_logger(source=name)


def configure(level: str = "info", text: bool = False, node: str = "") -> None:
    """Send log events of `level` and above to standard error, as JSON lines or, with `text`, for human eyes.

    Each says which `node` it comes from: logs of several are often read as one.
    """

    def signed(_logger: Any, _method: str, event: Any) -> Any:
        if node:
            event.setdefault("node", node)
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            signed,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if not text else _keep,
            # Plain tracebacks: the pretty ones show the values of variables, passwords and tokens among them.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if text
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS.get(level, 20)),
        # A line is written in one piece: several processes may share the file.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; only what is wrong with them is of interest here.
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access", "picows", "asyncio", "emcache"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL if noisy == "picows" else logging.ERROR)


def _keep(_logger: Any, _method: str, event: Any) -> Any:
    return event


class _Forward(logging.Handler):
    """Hands records of the standard logging module to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(source=record.name)
        level = "error" if record.levelno >= 40 else "warning"
        getattr(log, level)(record.getMessage(), exc_info=record.exc_info or None)
