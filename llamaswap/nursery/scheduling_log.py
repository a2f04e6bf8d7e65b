"""What the run loop writes into the log: why a swap begins, and, for who debugs, every step."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Sequence

from llamaswap.planning.events import (
    Arrived,
    CancelJob,
    Decision,
    DecisionKind,
    Effect,
    Event,
    Grant,
    JobDone,
    Position,
    Refuse,
    Released,
    StartJob,
    Stop,
)

logger = logging.getLogger(__name__)


def log_decision(decision: Decision) -> None:
    """Say once, in one line, who waited, who goes, why, and what it is expected to cost."""
    waiters = f"{decision.waiters} {'requests wait' if decision.waiters != 1 else 'request waits'}"
    goes = ", ".join(f"<{model}>" for model in decision.evicted)
    match decision.kind:
        case DecisionKind.SWAP:
            what = f"swap to <{decision.model}>" + (f", stopping {goes}" if goes else "")
        case DecisionKind.HOLD:
            what = f"<{decision.model}> has to wait, {goes} is kept"
        case DecisionKind.GATE:
            what = f"<{decision.model}> is overdue, {goes} is granted nothing more"
    logger.info(
        "%s: %s, the oldest for %.1f s; because %s; expected to take %.1f s",
        what,
        waiters,
        decision.oldest_wait,
        decision.reason,
        decision.estimate,
    )


def log_steps(event: Event, effects: Sequence[Effect], loading: Container[str]) -> None:
    """Say what became of an event. `loading`: the targets of the swaps that were under way."""
    for line in _steps(event, effects, loading):
        logger.debug("%s", line)


def _steps(event: Event, effects: Sequence[Effect], loading: Container[str]) -> Iterator[str]:
    match event:
        case Arrived(ticket=ticket, model=model):
            yield f"request {ticket} for <{model}> {_fate(ticket, model, effects, loading)}"
        case Released(ticket=ticket):
            yield f"request {ticket} is over, or its client has left"
        case JobDone(job=job, error=error):
            yield f"swap {job} " + ("is done" if error is None else f"failed: {error}")
        case _:
            pass  # others have their own lines, where they happen
    own = event.ticket if isinstance(event, Arrived) else None
    for effect in effects:
        match effect:
            case StartJob(job=job, target=target, evict=evict):
                goes = ", ".join(f"<{model}>" for model in evict) or "nobody"
                yield f"swap {job} to <{target}> begins, stopping {goes}"
            case CancelJob(job=job):
                yield f"swap {job} is cancelled: nobody waits for it any more"
            case Stop(models=models, reason=reason):
                yield f"stopping {', '.join(f'<{model}>' for model in models)} ({reason.value})"
            case Grant(ticket=ticket) if ticket != own:
                yield f"request {ticket} has waited and is served now"
            case Refuse(ticket=ticket, error=error) if ticket != own:
                yield f"request {ticket} has waited and is refused: {error}"


def _fate(ticket: int, model: str, effects: Sequence[Effect], loading: Container[str]) -> str:
    place = 0
    for effect in effects:
        match effect:
            case Grant(ticket=who) if who == ticket:
                return "is served at once: the model is ready"
            case Refuse(ticket=who, error=error) if who == ticket:
                return f"is refused: {error}"
            case StartJob(target=target) if target == model:
                return "waits for a swap that begins with it"
            case Position(ticket=who, position=position) if who == ticket:
                place = position
    if model in loading:
        return "joins those who wait for a swap that is under way"
    return "waits" + (f" in place {place}" if place else "")
