"""Every error of ours that a person or a client can see. Imports nothing of ours.

Each class knows the HTTP status it becomes and, where the status does not already say it,
the wire code (spec http-api §1.4). The text is for the user: who, what, the number and its unit.
"""

from __future__ import annotations

from typing import ClassVar


class LlamaswapError(Exception):
    """Root of our errors. `str(error)` is the message a client reads."""

    status: ClassVar[int] = 500
    code: ClassVar[str | None] = None  # None: the code that belongs to the status


class BadRequest(LlamaswapError):
    """The client sent something that cannot be acted on."""

    status = 400


class ModelUnknown(LlamaswapError):
    """No local model, alias or peer has that name."""

    status = 404


class ModelNotLoaded(LlamaswapError):
    """The request may not start the model, and it is not ready."""

    status = 409


class TooManyRequests(LlamaswapError):
    """The model holds as many requests as its `concurrencyLimit` allows."""

    status = 429
    code = "concurrency_limit"

    def __init__(self, message: str = "Too many requests", *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestCancelled(LlamaswapError):
    """An operator cancelled the request before anything was sent to the client."""

    status = 499
    code = "request_cancelled"


class NotInFlight(LlamaswapError):
    """No request of that number is under way (any more)."""

    status = 404


class CaptureUnknown(LlamaswapError):
    """Nothing was captured of that request, or it has made room for newer ones."""

    status = 404


class ShuttingDown(LlamaswapError):
    """The program is stopping and starts nothing new."""

    status = 503

    def __init__(self, message: str = "llama-swap is shutting down") -> None:
        super().__init__(message)


class UpstreamError(LlamaswapError):
    """Something went wrong in the life of one upstream process."""

    status = 500


class UpstreamNotSpawned(UpstreamError):
    """There is no such program, no permission to run it, or the command makes no sense."""


class UpstreamNotReady(UpstreamError):
    """The health check did not pass within `healthCheckTimeout`."""


class UpstreamExited(UpstreamError):
    """The process ended by itself before it became ready."""


class StartAborted(UpstreamError):
    """The model was stopped while it was starting."""


class ModelUnloaded(UpstreamError):
    """The model was unloaded while the request waited for it."""


class UpstreamUnkillable(UpstreamError):
    """The process is still alive after SIGKILL; its memory counts as taken."""


class UpstreamGone(UpstreamError):
    """The process went away between the grant and the request."""

    status = 503


class BadGateway(UpstreamError):
    """The upstream refused, reset or broke HTTP before its response head."""

    status = 502
