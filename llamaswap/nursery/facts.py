"""What an upstream tells about itself for display. No decision may rest on it."""

from __future__ import annotations

from attrs import frozen


@frozen
class UpstreamFacts:
    """A look at one model's upstream."""

    pid: int | None = None
    port: int | None = None
    idle: float | None = None
    """Seconds since it last had a request; None: it has one, or is not ready."""
    stop_reason: str = ""
    """Why its present or last life was ended; empty: it was not."""
    failure: str = ""
    """Why its last life failed to begin, or ended by itself; empty: it did not."""
    exit_code: int | None = None
    """With which its command ended by itself, as subprocess spells it."""
