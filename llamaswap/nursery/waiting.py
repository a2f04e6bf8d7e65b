"""A request's way through the collation queue, from its arrival to its release."""

from __future__ import annotations

from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from llamaswap.errors import LlamaswapError, UpstreamGone
from llamaswap.nursery.lease import Lease, WaitObserver
from llamaswap.planning.events import TicketId

if TYPE_CHECKING:
    from llamaswap.nursery.supervisor import Supervisor
    from llamaswap.nursery.upstream import Upstream


@define(eq=False)
class Waiting:
    """Enter to wait for the model, leave to release it. Shared with the run loop meanwhile."""

    supervisor: Supervisor
    model: str
    observer: WaitObserver | None
    decided: bool = False
    error: LlamaswapError | None = None
    generation: int = 0
    """Of the configuration it was granted under."""
    _bell: trio.Event | None = None
    """Made only for a request that has to wait."""
    _ticket: TicketId = field(init=False)
    _upstream: Upstream | None = None

    def decide(self, error: LlamaswapError | None = None) -> None:
        """The scheduler has spoken."""
        self.decided = True
        self.error = error
        if self._bell is not None:
            self._bell.set()

    async def __aenter__(self) -> Lease:
        supervisor = self.supervisor
        while True:
            self._ticket = supervisor.enqueue(self)
            try:
                if not self.decided:
                    self._bell = trio.Event()
                    await self._bell.wait()
                if self.error is not None:
                    raise copy(self.error)  # each waiter gets its own, with its own traceback
                self._upstream, lease = supervisor.hold(self._ticket, self.model)
            except UpstreamGone:
                supervisor.release(self._ticket, None)
                if not supervisor.is_outdated(self):
                    raise
                self.decided, self.error, self._bell = False, None, None
            except BaseException:
                supervisor.release(self._ticket, None)
                raise
            else:
                return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.supervisor.release(self._ticket, self._upstream)
