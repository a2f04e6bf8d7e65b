"""All that the data plane knows of scheduling: hold a model for the length of a block."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import frozen

from llamaswap.config.schema import Timeouts
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.planning.events import ProcessState


@frozen
class Lease:
    """A ready upstream, held. Ends with the block that acquired it."""

    model: str
    endpoint: Endpoint
    run: int
    """Number of this run of the process; connections to another run are worthless."""
    timeouts: Timeouts


class WaitObserver(Protocol):
    """What a waiting request may show its client. Called synchronously; must return at once."""

    def admitted(self) -> None:
        """The request was accepted: no clean refusal follows any more."""
        ...

    def position(self, place: int, wait: float) -> None:
        """The request's 1-based place in the queue is now `place`.

        `wait`: seconds it is expected to wait yet, learned from earlier loads and answers.
        """
        ...


class LeaseSource(Protocol):
    """The face of the supervisor that the data plane sees; tests put a fixed address behind it."""

    def lease(
        self, model: str, observer: WaitObserver | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Wait until `model` (a real id) may be used, then hold it until the block ends.

        Cancelling while waiting leaves the queue; a start already under way goes on. Raises bare
        LlamaswapError subclasses: ModelUnknown, TooManyRequests, UpstreamError, ShuttingDown.
        """
        ...

    def ready_lease(self, model: str) -> Lease | None:
        """The address of `model` if it is ready now, held by nobody: for ignored websockets and
        paths that may not start a model. None: it is not ready."""
        ...

    def state(self, model: str) -> ProcessState | None:
        """Where `model` (a real id) is in its life; None: there is no such local model."""
        ...
