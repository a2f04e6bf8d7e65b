"""Sends the program's own log records to the hub. Level and time format change live.

Every module logs to its own logger as usual. A record that belongs to one model's log instead of
the proxy's says so: `logger.info("…", extra={"model_log": model_id})`. Warnings and errors go to
both: a model's log is freed when it stops, and stdout most often does not show it.
Source: telemetry §1.4, §1.5.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.timestamps import timestamp

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


class RecordFormat(logging.Formatter):
    """`{timestamp }[LEVEL] message`, and a traceback below it if there is one."""

    def __init__(self, time_format: str = "") -> None:
        super().__init__()
        self.time_format = time_format

    def line(self, level: str, created: float, message: str) -> str:
        """One record as a line; `created`: seconds of the epoch."""
        time = f"{timestamp(self.time_format, created)} " if self.time_format else ""
        return f"{time}[{level}] {message}\n"

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line (or more, with a traceback), newline included."""
        time = timestamp(self.time_format, record.created) if self.time_format else ""
        lines = [f"{time} " if time else "", f"[{_level_name(record.levelno)}] "]
        lines.append(record.getMessage())
        if record.exc_info and record.exc_info[0] is not None:
            lines.append(f"\n{self.formatException(record.exc_info)}")
        return "".join((*lines, "\n"))


class HubHandler(logging.Handler):
    """Writes records to the hub, also those that worker threads make. Never waits."""

    def __init__(self, hub: LogHub) -> None:
        super().__init__()
        self.hub = hub
        self.layout = RecordFormat()
        self.setFormatter(self.layout)
        self._loop = trio.lowlevel.current_trio_token()

    def emit(self, record: logging.LogRecord) -> None:
        """Format and pass on; a record that cannot be formatted is logging's to complain about."""
        try:
            write = partial(self._write, self.format(record).encode(errors="backslashreplace"))
            model = getattr(record, "model_log", None)
            if trio.lowlevel.in_trio_run():
                write(model, record.levelno)
            else:
                self._loop.run_sync_soon(write, model, record.levelno)
        except trio.RunFinishedError:
            pass  # a thread that outlived the loop has nobody left to tell
        except Exception:  # noqa: BLE001  # a log call must never break its caller
            self.handleError(record)

    def _write(self, line: bytes, model: str | None, level: int) -> None:
        if model is not None:
            self.hub.model(model).write(line)
        if model is None or level >= logging.WARNING:
            self.hub.write_proxy(line)


class LogSettings:
    """The switch for level and time format of what is being routed."""

    def __init__(self, logger: logging.Logger, layout: RecordFormat) -> None:
        self._logger = logger
        self.layout = layout

    @property
    def shows_info(self) -> bool:
        """Whether records of level INFO are kept."""
        return self._logger.isEnabledFor(logging.INFO)

    def apply(self, level: str, time_format: str) -> None:
        """Use these from the next record on; unknown ones mean `info` and no time."""
        self._logger.setLevel(_LEVELS.get(level.strip().lower(), logging.INFO))
        self.layout.time_format = time_format.strip().lower()


@contextmanager
def logging_to(hub: LogHub, *, name: str = "llamaswap") -> Iterator[LogSettings]:
    """Route logger `name` and all below it to `hub` for the length of the block.

    Must be entered inside the trio run whose event loop owns the hub.
    """
    logger = logging.getLogger(name)
    handler = HubHandler(hub)
    before = (logger.propagate, logger.level)
    logger.addHandler(handler)
    logger.propagate = False
    settings = LogSettings(logger, handler.layout)
    settings.apply("info", "")
    try:
        yield settings
    finally:
        logger.removeHandler(handler)
        logger.propagate = before[0]
        logger.setLevel(before[1])


def _level_name(level: int) -> str:
    if level >= logging.ERROR:
        return "ERROR"
    if level >= logging.WARNING:
        return "WARN"
    return "INFO" if level >= logging.INFO else "DEBUG"
