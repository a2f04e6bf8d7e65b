from __future__ import annotations

import trio
import trio.testing

from llamaswap.telemetry.bus import (
    BusEvent,
    BusFeed,
    ConfigReloaded,
    EventBus,
    ModelStateChanged,
    Overflowed,
)


async def rest_of(feed: BusFeed) -> list[BusEvent]:
    with trio.fail_after(5):
        return [event async for event in feed]


async def test_every_subscriber_gets_every_event_in_order() -> None:
    bus = EventBus()
    events = [ModelStateChanged("m", state) for state in ("starting", "ready", "stopping")]
    with bus.subscribe() as one, bus.subscribe() as two:
        for event in events:
            bus.publish(event)
        bus.end()
        assert await rest_of(one) == await rest_of(two) == events


async def test_a_waiting_subscriber_wakes(nursery: trio.Nursery) -> None:
    bus = EventBus()
    seen: list[BusEvent] = []

    async def listen() -> None:
        with bus.subscribe() as feed:
            seen.append(await anext(feed))

    nursery.start_soon(listen)
    await trio.testing.wait_all_tasks_blocked()
    bus.publish(ConfigReloaded(2))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [ConfigReloaded(2)]
    assert bus.subscribers == 0


async def test_who_cannot_keep_up_is_told_and_goes_on_from_there() -> None:
    bus = EventBus()
    with bus.subscribe(limit=3) as slow:
        for number in range(4):
            bus.publish(ModelStateChanged(f"m{number}", "ready"))
        bus.end()
        assert await rest_of(slow) == [Overflowed(), ModelStateChanged("m3", "ready")]


async def test_a_subscriber_that_never_reads_stays_bounded() -> None:
    bus = EventBus()
    with bus.subscribe(limit=10) as slow:
        for number in range(10_000):
            bus.publish(ModelStateChanged(f"m{number}", "ready"))
        bus.end()
        assert len(await rest_of(slow)) <= 10


async def test_an_event_only_whose_newest_counts_replaces_the_one_that_waits() -> None:
    bus = EventBus()
    with bus.subscribe() as feed:
        bus.publish(ConfigReloaded(1))
        bus.publish(ModelStateChanged("m", "ready"))
        bus.publish(ConfigReloaded(2))
        bus.end()
        assert await rest_of(feed) == [ModelStateChanged("m", "ready"), ConfigReloaded(2)]


async def test_a_cancelled_subscriber_loses_nothing() -> None:
    bus = EventBus()
    with bus.subscribe() as feed:
        bus.publish(ConfigReloaded(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(feed)
        assert scope.cancelled_caught
        assert await anext(feed) == ConfigReloaded(1)


async def test_who_subscribes_after_the_end_gets_an_empty_stream() -> None:
    bus = EventBus()
    bus.end()
    with bus.subscribe() as feed:
        assert await rest_of(feed) == []
