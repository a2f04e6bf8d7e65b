"""What a scheduler is told, and what it asks for. Frozen values only, four of them per request:
structs of msgspec are made in a sixth of the time that frozen classes of attrs take.

A request is one *ticket*: it arrives once and is released exactly once, whatever happens in
between; the scheduler knows from its own state whether a release means "left the queue" or
"finished being served". Time is never in an event:
`handle(event, now)` brings it, float seconds of a monotonic clock.
Source: spec lifecycle §2.2.
"""

from __future__ import annotations

from enum import Enum
from typing import NewType, TypeAlias

from msgspec import Struct

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


class Arrived(Struct, frozen=True):
    """A request for a local model, by real id. Answered by Admit or Refuse."""

    ticket: TicketId
    model: str
    priority: int | None = None
    """None: the priority that the configuration gives the model."""


class Released(Struct, frozen=True):
    """The request is over: its client left, or its response ended. Exactly one per Arrived."""

    ticket: TicketId


class JobDone(Struct, frozen=True):
    """A job ended. `error` None: every evictee is stopped and the target is ready.

    A cancelled job reports with `StartAborted`. Exactly one per StartJob.
    """

    job: JobId
    error: LlamaswapError | None = None


class StateChanged(Struct, frozen=True):
    """An upstream went to `state`, by itself or by our doing. Sent for every change, in order."""

    model: str
    state: ProcessState


class SlotsKnown(Struct, frozen=True):
    """A ready upstream said how many requests it works on at once."""

    model: str
    slots: int


class Unload(Struct, frozen=True):
    """An operator wants these models (real ids) stopped, in-flight requests or not."""

    models: tuple[str, ...]


class Tick(Struct, frozen=True):
    """A time asked for by `next_wakeup()` has come; only `now` matters."""


class Shutdown(Struct, frozen=True):
    """The program stops: nothing new starts, whoever waits is failed, in-flight continues."""


Event: TypeAlias = (
    Arrived | Released | JobDone | StateChanged | SlotsKnown | Unload | Tick | Shutdown
)

# --- effects --------------------------------------------------------------------------------------


class Admit(Struct, frozen=True):
    """The request holds a slot of its model now and will get Grant or Refuse later."""

    ticket: TicketId


class Grant(Struct, frozen=True):
    """Serve the request: its model is ready and will not be stopped for a swap meanwhile."""

    ticket: TicketId


class Refuse(Struct, frozen=True):
    """The request ends here with `error`, before or after it was admitted."""

    ticket: TicketId
    error: LlamaswapError


class Position(Struct, frozen=True):
    """The request's 1-based place among those that wait changed.

    `fifo` counts the whole queue, `batch` those that wait for the same model.
    """

    ticket: TicketId
    position: int
    wait: float = 0.0
    """Seconds it is expected to wait yet: an estimate from what was learned."""


class StartJob(Struct, frozen=True):
    """Stop all of `evict` side by side, then make `target` ready, then report JobDone."""

    job: JobId
    target: str
    evict: tuple[str, ...]


class CancelJob(Struct, frozen=True):
    """End the job without starting its target: finish stops already begun, abort a start.

    It still reports JobDone.
    """

    job: JobId


class Stop(Struct, frozen=True):
    """Stop these models side by side, outside any job."""

    models: tuple[str, ...]
    reason: StopReason


class DecisionKind(Enum):
    """What was decided about a model that somebody waits for."""

    SWAP = "swap"
    HOLD = "hold"
    GATE = "gate"


class Decision(Struct, frozen=True, kw_only=True):
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
