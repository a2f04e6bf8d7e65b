"""Cases T61-T63 of telemetry §9: pynvml over a library that behaves like a driver, or does not."""

from __future__ import annotations

import os

import pynvml
import pytest
import trio

from llamaswap.telemetry.gpu.nvml import Nvml
from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.samples import GpuReading, GpuSnapshot, now
from tests.unit.fake_nvml import GIB, Card, FakeNvml, install

UNSUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED


async def readings(
    monkeypatch: pytest.MonkeyPatch,
    nursery: trio.Nursery,
    *cards: Card,
    missing: tuple[str, ...] = (),
) -> dict[int, GpuReading]:
    library = FakeNvml(*cards, missing=missing)
    install(monkeypatch, library)
    source = await Nvml().open(5, nursery)
    try:
        return {reading.id: reading for reading in await source.read()}
    finally:
        await source.aclose()
        assert library.loaded == 0


async def test_one_snapshot_of_all_cards_with_gaps_only_where_something_is_unsupported(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    passive = Card(
        uuid="GPU-2",
        errors={"nvmlDeviceGetFanSpeed": UNSUPPORTED, "memory temperature": UNSUPPORTED},
    )
    found = await readings(monkeypatch, nursery, Card(), passive, Card(uuid="GPU-3"))
    assert [reading.uuid for reading in found.values()] == ["GPU-1", "GPU-2", "GPU-3"]
    whole, gaps = found[0].fields(), found[1].fields()
    assert whole == {
        "id": 0,
        "name": "NVIDIA L40S",
        "uuid": "GPU-1",
        "temp_c": 51,
        "vram_temp_c": 58,
        "gpu_util_pct": 37.0,
        "mem_used_mb": 8192,
        "mem_total_mb": 46068,
        "mem_util_pct": pytest.approx(17.78, abs=0.005),  # the bus was active for 2 %
        "fan_speed_pct": 40.0,
        "power_draw_w": 96.4,
    }
    assert gaps.pop("unknown") == ["vram_temp_c", "fan_speed_pct"]
    differing = {"id": 1, "uuid": "GPU-2", "fan_speed_pct": 0, "vram_temp_c": 0}
    assert gaps == {**whole, **differing}
    text = GpuSnapshot(now(), list(found.values())).encoded().decode()
    stamps = {part.partition('","')[0] for part in text.split('"timestamp":"')[1:]}
    assert len(stamps) == 1


@pytest.mark.parametrize("error", ["nvmlDeviceGetName", "nvmlDeviceGetUUID"])
async def test_a_card_that_does_not_say_its_name_still_counts(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, error: str
) -> None:
    found = await readings(monkeypatch, nursery, Card(errors={error: UNSUPPORTED}))
    assert found[0].temp_c == 51


async def test_an_old_driver_without_the_newer_calls(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    newer = (
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
    )
    found = await readings(monkeypatch, nursery, Card(), missing=newer)
    assert found[0].temp_c == 51
    assert found[0].mem_used_mb == 8192 + 500  # version 1 counts the reserve as used
    assert found[0].processes is None


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (None, "Library Not Found"),
        (FakeNvml(Card(), init=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), "Driver Not Loaded"),
        (FakeNvml(Card(), init=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH), "mismatch"),
        (FakeNvml(), "no device"),
    ],
)
async def test_what_is_no_use_says_why(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, library: FakeNvml | None, words: str
) -> None:
    install(monkeypatch, library)
    with pytest.raises(SourceFailed, match=words):
        await Nvml().open(5, nursery)
    assert library is None or library.loaded == 0


async def test_a_lost_card_is_left_out_and_all_lost_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    cards = [Card(), Card(uuid="GPU-2")]
    install(monkeypatch, FakeNvml(*cards))
    source = await Nvml().open(5, nursery)
    cards[0].lose()
    assert [reading.id for reading in await source.read()] == [1]
    cards[1].lose()
    with pytest.raises(SourceFailed, match="every device is lost"):
        await source.read()


async def test_memory_by_process_over_both_lists(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    card = Card(compute={10: 3 * GIB, 11: GIB}, graphics={11: GIB, 12: GIB // 2})
    found = await readings(monkeypatch, nursery, card, Card(uuid="GPU-2"))
    assert found[0].processes == {10: 3 * GIB, 11: GIB, 12: GIB // 2}
    assert found[1].processes == {}


async def test_a_driver_that_hides_memory_by_process_makes_it_unknown(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    found = await readings(monkeypatch, nursery, Card(compute={10: None}))
    assert found[0].processes is None


async def test_a_driver_that_hangs_is_given_up_and_joined_by_no_second_thread(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    library = FakeNvml(Card())
    install(monkeypatch, library)
    source = await Nvml().open(5, nursery)
    held, release = os.pipe()
    calls: list[str] = []

    def hang(name: str) -> None:
        calls.append(name)
        os.read(held, 1)

    library.on_call = hang
    with trio.move_on_after(0.05) as scope:
        await source.read()
    assert scope.cancelled_caught
    with trio.move_on_after(0.05) as scope:
        await source.read()
    assert scope.cancelled_caught
    assert len(calls) == 1
    library.on_call = lambda name: None
    os.write(release, b"x")
    with trio.fail_after(10):
        assert len(await source.read()) == 1
    await source.aclose()
    os.close(held)
    os.close(release)


async def test_macos_has_none(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SourceFailed):
        await Nvml().open(5, nursery)
