"""Checking and resolving the global keys.

Source: config §2.3, §2.10 to §2.14.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from llamaswap.config.patterns import BadPattern, compile_pattern
from llamaswap.config.problems import Findings
from llamaswap.config.schema import DEFAULT_IGNORE_PATHS, Performance
from llamaswap.config.sections import RootSection

LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_TIME_FORMATS = (
    "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z",
    "rfc3339", "rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
)  # fmt: skip
LOG_TARGETS = ("proxy", "upstream", "both", "none")
MIN_HEALTH_CHECK_TIMEOUT = 15
MIN_PERFORMANCE_EVERY = 5.0
DEFAULT_METRICS_IN_MEMORY = 1000
DEFAULT_UNLOAD_TIMEOUT = 10
_BASE_PATH = re.compile(r"[\w.~-]+(/[\w.~-]+)*", re.ASCII)


def resolve_settings(written: RootSection, findings: Findings) -> dict[str, Any]:
    """The global fields of `Config` that depend on nothing else, by name."""
    _check_limits(written, findings)
    if written.log_requests is not None:
        findings.warn("W-NO-EFFECT", ("logRequests",), "this key has no effect any more")
    return {
        "health_check_timeout": max(written.health_check_timeout, MIN_HEALTH_CHECK_TIMEOUT),
        "log_level": _choice("logLevel", written.log_level, LOG_LEVELS, "info", findings),
        "log_time_format": _choice(
            "logTimeFormat", written.log_time_format, LOG_TIME_FORMATS, "", findings
        ),
        "log_to_stdout": written.log_to_stdout,
        "metrics_max_in_memory": _positive(
            written.metrics_max_in_memory, DEFAULT_METRICS_IN_MEMORY
        ),
        "capture_buffer": max(written.capture_buffer, 0),
        "store_path": _store_path(written, findings),
        "store_max_rows": _store_max_rows(written, findings),
        "session_id_headers": _headers(written.ui.activity.session_id),
        "ui_title": written.ui.title.strip(),
        "ui_base_path": _base_path(written, findings),
        "performance": _performance(written, findings),
        "include_aliases_in_list": written.include_aliases_in_list,
        "ignore_paths": _ignore_paths(written, findings),
        "start_port": written.start_port,
        "global_ttl": written.global_ttl,
        "unload_timeout": _positive(written.unload_timeout, DEFAULT_UNLOAD_TIMEOUT),
        "send_loading_state": written.send_loading_state,
        "stream_keep_alive": max(written.stream_keep_alive, 0),
    }


def resolve_api_keys(written: RootSection, findings: Findings) -> tuple[str, ...]:
    """The keys clients may send. No message ever shows one."""
    for index, key in enumerate(written.api_keys):
        path = ("apiKeys", index)
        if not key:
            findings.error("E-APIKEY-EMPTY", path, f"the key at index {index} is empty")
        elif " " in key:
            text = f"the key at index {index} contains a space; one item is one key"
            findings.error("E-APIKEY-SPACE", path, text)
    return tuple(written.api_keys)


def _positive(value: int, otherwise: int) -> int:
    return value if value > 0 else otherwise


def _choice(
    key: str, written: str, choices: tuple[str, ...], otherwise: str, findings: Findings
) -> str:
    value = written.strip().lower()
    if value in choices or value == otherwise:
        return value
    allowed = ", ".join(choices)
    findings.warn("W-VALUE", (key,), f"'{written}' is none of {allowed}; '{otherwise}' is used")
    return otherwise


def _check_limits(written: RootSection, findings: Findings) -> None:
    if written.log_to_stdout not in LOG_TARGETS:
        allowed = ", ".join(LOG_TARGETS)
        text = f"'{written.log_to_stdout}' is none of {allowed}"
        findings.error("E-LOGSTDOUT", ("logToStdout",), text)
    for code, key, value, least in (
        ("E-TTL-GLOBAL", "globalTTL", written.global_ttl, 0),
        ("E-UNLOAD-GLOBAL", "unloadTimeout", written.unload_timeout, 0),
        ("E-STARTPORT", "startPort", written.start_port, 1),
    ):
        if value < least:
            findings.error(code, (key,), f"{value} is too low; it must be at least {least}")
    if written.stream_keep_alive < 0:
        text = f"{written.stream_keep_alive} seconds make no sense; 0 (no comments) is used"
        findings.warn("W-VALUE", ("streamKeepAlive",), text)


def _headers(written: list[str]) -> tuple[str, ...]:
    kept: dict[str, str] = {}
    for header in written:
        name = header.strip()
        if name:
            kept.setdefault(name.lower(), name)
    return tuple(kept.values())


def _base_path(written: RootSection, findings: Findings) -> str:
    path = written.ui.base_path.strip().strip("/")
    if not path:
        return ""
    if not _BASE_PATH.fullmatch(path):
        text = f"'{written.ui.base_path}' is no path like /llm; the root is used"
        findings.warn("W-VALUE", ("ui", "basePath"), text)
        return ""
    return f"/{path}"


def _performance(written: RootSection, findings: Findings) -> Performance:
    every = written.performance.every
    if every == 0:
        every = MIN_PERFORMANCE_EVERY
    if every < MIN_PERFORMANCE_EVERY:
        text = f"{every:g}s is too short; it must be at least {MIN_PERFORMANCE_EVERY:g}s"
        findings.error("E-PERF-EVERY", ("performance", "every"), text)
    return Performance(disabled=written.performance.disabled, every=every)


def _ignore_paths(written: RootSection, findings: Findings) -> tuple[str, ...]:
    for index, expression in enumerate(written.upstream.ignore_paths):
        try:
            compile_pattern(expression)
        except BadPattern as error:
            path = ("upstream", "ignorePaths", index)
            text = f"'{expression}' is no regular expression: {error}"
            findings.error("E-REGEX", path, text)
    return tuple(written.upstream.ignore_paths) or DEFAULT_IGNORE_PATHS


def _store_max_rows(written: RootSection, findings: Findings) -> int:
    rows = 0 if written.store is None else written.store.max_rows
    if rows < 0:
        text = f"{rows} makes no sense; 0 (keep all rows) is used"
        findings.warn("W-VALUE", ("store", "maxRows"), text)
    return max(rows, 0)


def _store_path(written: RootSection, findings: Findings) -> str | None:
    if written.store is None:
        return None
    path = ("store", "path")
    if not written.store.path.strip():
        findings.error("E-STORE-EMPTY", path, "name the file to keep activity in, or drop 'store'")
        return None
    fault = _store_fault(written.store.path)
    if fault is not None:
        findings.error(*fault[:1], path, fault[1])
    return written.store.path


def _store_fault(name: str) -> tuple[str, str] | None:
    try:
        path = Path(name)
        if path.is_dir():
            return "E-STORE-DIR", f"'{name}' is a directory; name a file"
        if path.exists():
            usable = os.access(path, os.W_OK)
            return None if usable else ("E-STORE-PERM", f"the file '{name}' is not writable")
        parent = path.parent
        if not parent.is_dir():
            return "E-STORE-PERM", f"the directory '{parent}' does not exist"
        return None if _can_create(parent) else _not_writable(parent)
    except (OSError, ValueError) as error:  # a name too long, a NUL in it
        return "E-STORE-PERM", f"'{name}' cannot be used: {error}"


def _not_writable(parent: Path) -> tuple[str, str]:
    return "E-STORE-PERM", f"the directory '{parent}' is not writable"


def _can_create(directory: Path) -> bool:
    """Whether a file can be made there; permission bits alone do not say it on Windows."""
    if os.name != "nt":
        return os.access(directory, os.W_OK | os.X_OK)
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
