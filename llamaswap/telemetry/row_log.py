"""What the log says of requests beside the access log. Source: telemetry §1.7.

Names, paths and errors come from elsewhere and are escaped: none can begin a line of its own.
"""

from __future__ import annotations

import logging

from llamaswap.telemetry.access_log import escaped
from llamaswap.telemetry.activity import ActivityRow, is_success
from llamaswap.telemetry.observation import Observation, Outcome
from llamaswap.telemetry.response_body import ResponseReader

logger = logging.getLogger(__name__)
NO_BODY = frozenset({204, 205})


def log_dispatch(observation: Observation) -> None:
    """Say where a request goes."""
    chosen = observation.metadata.get("selector")
    logger.debug(
        "<%s> %s %s goes to a %s%s",
        escaped(observation.model),
        observation.method,
        escaped(observation.path),
        "local model" if observation.local else "peer, or nowhere",
        f", chosen by selector {escaped(chosen)}" if chosen else "",
    )


def log_row(row: ActivityRow, outcome: Outcome, reader: ResponseReader) -> None:
    """Say what keeps a row from telling everything: no success, or a body that cannot be read."""
    status = row.resp_status_code
    tells_all = not (reader.unreadable or reader.no_figures)
    if outcome is Outcome.COMPLETE and is_success(status) and tells_all:
        return  # nearly always: nothing is made up for it
    who = f"<{escaped(row.model)}> {escaped(row.req_path)}"
    if outcome in (Outcome.LEFT, Outcome.CANCELLED):
        logger.info("%s: %s after %d ms", who, row.error, row.duration_ms)
        return
    if outcome is Outcome.REFUSED or not is_success(status):
        logger.warning("%s answered %d, so its row is partial: %s", who, status, escaped(row.error))
    elif reader.unreadable:
        logger.warning("%s: response body is unreadable: %s", who, escaped(reader.unreadable))
    elif outcome is Outcome.COMPLETE and reader.no_figures and _should_tell(row, reader):
        logger.warning("%s: response body tells no tokens: %s", who, reader.no_figures)


def log_capture(row: ActivityRow, size: int, kept: int) -> None:
    """Say what a capture takes. `size`: bytes of both bodies; `kept`: of the capture."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    logger.debug(
        "<%s> %s: captured %d bytes as %d (%.0f %%)",
        escaped(row.model),
        escaped(row.req_path),
        size,
        kept,
        100 * kept / max(size, 1),
    )


def _should_tell(row: ActivityRow, reader: ResponseReader) -> bool:
    """Whether the answer is of a kind that tells tokens."""
    if row.resp_status_code in NO_BODY:
        return False
    kind = row.resp_content_type.lower()
    return reader.stream or "json" in kind or (not kind and not reader.length)
