"""What a scheduler is told, and what it asks for. Frozen values only.

A request is one *ticket*: it arrives once and is released exactly once, whatever happens in
between; the scheduler knows from its own state whether a release means "left the queue" or
"finished being served". Time is never in an event:
`handle(event, now)` brings it, float seconds of a monotonic clock.
Source: spec lifecycle §2.2.
"""

from __future__ import annotations

from enum import Enum
from typing import NewType, TypeAlias

from attrs import frozen

from llamaswap.errors import LlamaswapError

TicketId = NewType("TicketId", int)
JobId = NewType("JobId", int)


class ProcessState(Enum):
    """State of an upstream, spelled as clients see it. Source: lifecycle §1.1."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    SHUTDOWN = "shutdown"

    @property
    def resident(self) -> bool:
        """Whether the process may occupy memory: everything but stopped and shut down."""
        return self not in (ProcessState.STOPPED, ProcessState.SHUTDOWN)


class StopReason(Enum):
    """Why a model is stopped; decides the grace and the log line."""

    EVICT = "evict"
    UNLOAD = "unload"
    TTL = "ttl"
    ABORT = "abort"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"


# --- events ---------------------------------------------------------------------------------------


@frozen
class Arrived:
    """A request for a local model, by real id. Answered by Admit or Refuse."""

    ticket: TicketId
    model: str
    priority: int | None = None
    """None: the priority that the configuration gives the model."""


@frozen
class Released:
    """The request is over: its client left, or its response ended. Exactly one per Arrived."""

    ticket: TicketId


@frozen
class JobDone:
    """A job ended. `error` None: every evictee is stopped and the target is ready.

    A cancelled job reports with `StartAborted`. Exactly one per StartJob.
    """

    job: JobId
    error: LlamaswapError | None = None


@frozen
class StateChanged:
    """An upstream went to `state`, by itself or by our doing. Sent for every change, in order."""

    model: str
    state: ProcessState


@frozen
class SlotsKnown:
    """A ready upstream said how many requests it works on at once."""

    model: str
    slots: int


@frozen
class Unload:
    """An operator wants these models (real ids) stopped, in-flight requests or not."""

    models: tuple[str, ...]


@frozen
class Tick:
    """A time asked for by `next_wakeup()` has come; only `now` matters."""


@frozen
class Shutdown:
    """The program stops: nothing new starts, whoever waits is failed, in-flight continues."""


Event: TypeAlias = (
    Arrived | Released | JobDone | StateChanged | SlotsKnown | Unload | Tick | Shutdown
)

# --- effects --------------------------------------------------------------------------------------


@frozen
class Admit:
    """The request holds a slot of its model now and will get Grant or Refuse later."""

    ticket: TicketId


@frozen
class Grant:
    """Serve the request: its model is ready and will not be stopped for a swap meanwhile."""

    ticket: TicketId


@frozen
class Refuse:
    """The request ends here with `error`, before or after it was admitted."""

    ticket: TicketId
    error: LlamaswapError


@frozen
class Position:
    """The request's 1-based place among those that wait changed.

    `fifo` counts the whole queue, `batch` those that wait for the same model.
    """

    ticket: TicketId
    position: int
    wait: float = 0.0
    """Seconds it is expected to wait yet: an estimate from what was learned."""


@frozen
class StartJob:
    """Stop all of `evict` side by side, then make `target` ready, then report JobDone."""

    job: JobId
    target: str
    evict: tuple[str, ...]


@frozen
class CancelJob:
    """End the job without starting its target: finish stops already begun, abort a start.

    It still reports JobDone.
    """

    job: JobId


@frozen
class Stop:
    """Stop these models side by side, outside any job."""

    models: tuple[str, ...]
    reason: StopReason


class DecisionKind(Enum):
    """What was decided about a model that somebody waits for."""

    SWAP = "swap"
    HOLD = "hold"
    GATE = "gate"


@frozen(kw_only=True)
class Decision:
    """Why a swap begins, or does not begin yet: for people, once per decision."""

    kind: DecisionKind
    model: str
    """Who is wanted."""
    evicted: tuple[str, ...]
    """Who goes for it; for a hold and a gate: who will."""
    reason: str
    """A clause that completes "because …"."""
    waiters: int
    oldest_wait: float
    """Seconds, of the request for `model` that came first."""
    estimate: float
    """Seconds expected until `model` is ready (swap, gate) or the hold ends."""


Effect: TypeAlias = Admit | Grant | Refuse | Position | StartJob | CancelJob | Stop | Decision
