"""Loggers for plugins: loguru's, imported when a message first passes the level.

Importing loguru takes as long as a third of the start of a whole cluster; a cluster that has nothing
to say never does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["LEVELS", "Log", "Logs"]

LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


class Logs:
    """Makes loggers. Messages below ``level`` are dropped; ``configure`` runs once, after the
    import of loguru and before the first message (an application sets up its sinks there)."""

    def __init__(self, level: str = "WARNING", configure: Callable[[], None] | None = None) -> None:
        if level.upper() not in LEVELS:
            raise ValueError(f'"{level}" is not a log level: {", ".join(LEVELS).lower()}')
        self.level = level.upper()
        self.number = LEVELS[self.level]
        self._configure = configure

    def bind(self, **extra: Any) -> Log:
        return Log(self, extra)

    def loguru(self) -> Any:
        from loguru import logger

        if self._configure is not None:
            configure, self._configure = self._configure, None
            configure()
        return logger


class Log:
    """One logger. Has the methods of loguru's; the usual ones cost next to nothing below the level."""

    __slots__ = ("_extra", "_logs", "_real")

    def __init__(self, logs: Logs, extra: dict[str, Any]) -> None:
        self._logs = logs
        self._extra = extra
        self._real: Any = None

    def _loguru(self) -> Any:
        if self._real is None:
            self._real = self._logs.loguru().bind(**self._extra)
        return self._real

    def _log(self, level: str, message: str, args: tuple[Any, ...], values: dict[str, Any]) -> None:
        if LEVELS[level] >= self._logs.number:
            self._loguru().opt(depth=2).log(level, message, *args, **values)

    def trace(self, message: str, *args: Any, **values: Any) -> None:
        self._log("TRACE", message, args, values)

    def debug(self, message: str, *args: Any, **values: Any) -> None:
        self._log("DEBUG", message, args, values)

    def info(self, message: str, *args: Any, **values: Any) -> None:
        self._log("INFO", message, args, values)

    def success(self, message: str, *args: Any, **values: Any) -> None:
        self._log("SUCCESS", message, args, values)

    def warning(self, message: str, *args: Any, **values: Any) -> None:
        self._log("WARNING", message, args, values)

    def error(self, message: str, *args: Any, **values: Any) -> None:
        self._log("ERROR", message, args, values)

    def critical(self, message: str, *args: Any, **values: Any) -> None:
        self._log("CRITICAL", message, args, values)

    def exception(self, message: str, *args: Any, **values: Any) -> None:
        """At level ERROR, with the traceback of the exception being handled."""
        self._loguru().opt(depth=1, exception=True).error(message, *args, **values)

    def bind(self, **extra: Any) -> Log:
        return Log(self._logs, {**self._extra, **extra})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loguru(), name)
