"""What an exchange tells about itself while it goes on, and how an operator ends it.

The data plane asks `Observer.begin` once a request has named a model, and from then on calls the
observation's methods: each returns at once, and `take`, the one for body bytes, is O(1) and called
after they went out. A route that is not observed costs one comparison with None.
Source: http-api §7.1, §7.3; telemetry §5.3.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum
from typing import Protocol, TypeAlias

import msgspec
import trio
from attrs import define, field

from llamaswap.errors import LlamaswapError

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
RequestFields: TypeAlias = Sequence[tuple[bytes, bytes, bytes]]
"""Lower-case name, name as received, value."""


class Outcome(Enum):
    """How an exchange ended."""

    COMPLETE = "complete"
    """The whole answer of the upstream went out, whatever its status."""
    REFUSED = "refused"
    """We answered with an error of our own."""
    CUT = "cut"
    """The answer was cut after its head: the upstream broke off or went away."""
    LEFT = "client disconnected"
    CANCELLED = "request cancelled"
    """By an operator."""


class Ending(msgspec.Struct, frozen=True):
    """The last thing an exchange tells."""

    outcome: Outcome
    status: int
    """Of the head that was sent; 0: none was."""
    duration: float
    """Seconds from the request to the end of its answer, waiting and loading included."""
    error: LlamaswapError | None = None
    """What we answered with, or what cut the answer."""


class Observer(Protocol):
    """Whoever keeps the books. Every method returns at once."""

    def begin(self, observation: Observation) -> None:
        """A request has named a model."""
        ...

    def granted(self, observation: Observation) -> None:
        """It holds its model. Called once at most."""
        ...

    def answered(self, observation: Observation) -> None:
        """Its response head went out."""
        ...

    def overfull(self, observation: Observation) -> None:
        """More than `FOLD` bytes of its body wait to be looked at."""
        ...

    def finished(self, observation: Observation, ending: Ending) -> None:
        """It is over; nothing is called any more."""
        ...


FOLD = 8192
"""Body bytes that are kept as they came before somebody is asked to fold them. As small pieces they
take half as much again, for every stream under way."""


@define(eq=False)
class Observation:
    """One request under way, as far as it is observed."""

    observer: Observer = field(repr=False)
    model: str
    """Real id of a local model; for a peer or an unknown model the name as asked for."""
    path: str
    """As received, without query; below `/upstream/<model>` the tail."""
    method: str
    fields: RequestFields = field(repr=False)
    remote: str
    """Who asked: an address without its port."""
    scope: trio.CancelScope = field(repr=False)
    row: bool
    """Whether a row of activity is written."""
    local: bool
    """Whether a model of ours is meant, not a peer's or nobody's."""
    id: int = 0
    """Given by the observer."""
    metadata: dict[str, str] = field(factory=dict)
    began: float = field(factory=time.monotonic)
    arrived: int = field(factory=time.time_ns)
    """Nanoseconds since 1970."""
    granted_at: float | None = None
    """When the model was granted, on the clock of `began`; None: it still waits."""
    run: int = 0
    """Number of the run of the process that serves it."""
    sent_path: str = ""
    """As the upstream sees it, decoded, without query; empty: nothing was sent upstream."""
    request_body: bytes | bytearray = field(default=b"", repr=False)
    """As sent upstream."""
    status: int = 0
    response_fields: Headers = field(default=(), repr=False)
    content_type: str | None = None
    """Of the response; found when it is first asked for."""
    framed: bool = False
    """Whether the body's bytes carry chunk framing."""
    size: int = 0
    """Body bytes sent so far."""
    pieces: list[bytes] = field(factory=list, repr=False)
    """Body bytes nobody has looked at yet, as they were sent."""
    keep: bool = True
    """Whether anybody will look at the body."""
    cancelled: bool = False
    _unfolded: int = 0

    def granted(self, run: int, path: str, body: bytes | bytearray) -> None:
        """The model is held: this path and body go to this run of its process, or to a peer.

        The body is not changed any more.
        """
        self.granted_at = time.monotonic()
        self.run = run
        self.sent_path = path
        self.request_body = body
        self.observer.granted(self)

    def head(self, status: int, fields: Headers, *, framed: bool) -> None:
        """The response head went out."""
        self.status = status
        self.response_fields = fields
        self.framed = framed
        self.observer.answered(self)

    def take(self, data: bytes) -> None:
        """These bytes of the body went out. Called for every chunk of every stream: O(1)."""
        self.size += len(data)
        if self.keep:
            self.pieces.append(data)
            self._unfolded += len(data)
            if self._unfolded > FOLD:
                self._unfolded = 0
                self.observer.overfull(self)

    def finish(self, outcome: Outcome, error: LlamaswapError | None = None) -> None:
        """It is over."""
        if self.cancelled:
            outcome = Outcome.CANCELLED
        duration = time.monotonic() - self.began
        self.observer.finished(self, Ending(outcome, self.status, duration, error))
        if not self.keep:
            self.request_body = b""  # nobody will look at it, and it may be an upload

    def cancel(self) -> None:
        """End it on an operator's behalf: with status 499, or by cutting what has begun."""
        self.cancelled = True
        self.scope.cancel(reason="cancelled by an operator")
