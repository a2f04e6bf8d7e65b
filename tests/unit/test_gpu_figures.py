"""Cases T55-T58, T64-T69 of telemetry §9: what the sources print, read; recorded texts."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from llamaswap.telemetry.gpu import lact, macos, nvidia_smi, rocm_smi
from llamaswap.telemetry.gpu.source import SourceFailed, number, whole
from llamaswap.telemetry.samples import GpuReading

DEVICE = {"id": "10DE:26B9-10DE:1851-0000:41:00.0", "name": "NVIDIA L40S"}


def of_lact(**stats: Any) -> GpuReading:
    return lact.reading_of(0, DEVICE, stats)


@pytest.mark.parametrize(
    ("text", "value"),
    [("54", 54.0), (" 181.42", 181.42), ("[N/A]", None), ("", None), (None, None), ("nan", None)],
)
def test_figures_that_are_none_are_unknown(text: object, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("value", "cut"), [("54.9", 54), (-3.7, -3), (True, None), ("inf", None), ([], None)]
)
def test_whole_figures_are_cut(value: object, cut: int | None) -> None:
    assert whole(value) == cut


@pytest.mark.parametrize(
    ("average", "watts"), [(0, 91), (None, 91), (88.5, 88.5)], ids=["zero", "null", "given"]
)
def test_lact_power_is_the_average_if_there_is_one(average: float | None, watts: float) -> None:
    assert of_lact(power={"average": average, "current": 91}).power_draw_w == watts


@pytest.mark.parametrize(
    ("sensors", "core", "memory"),
    [
        ({"VRAM": 60, "GPU": 48}, 48, 60),
        ({"junction": 70, "edge": 55, "mem": 80}, 55, 80),
        ({"junction": 70, "mem": 0, "VRAM": 61}, 70, 61),
        ({"GPU Hotspot": 77, "aux": 20}, 77, None),
        ({"zone b": 30.9, "zone a": 20.9, "Memory junction": 99}, 20, None),
        ({"VRAM": 60}, None, 60),
        ({}, None, None),
    ],
)
def test_lact_temperatures_are_picked_by_name(
    sensors: dict[str, float], core: int | None, memory: int | None
) -> None:
    reading = of_lact(temps={name: {"current": value} for name, value in sensors.items()})
    assert (reading.temp_c, reading.vram_temp_c) == (core, memory)


def test_lact_fan_and_usage() -> None:
    reading = of_lact(fan={"pwm_current": 255}, temps={"edge": {"current": None}, "mem": None})
    assert reading.fan_speed_pct == 100
    fields = reading.fields()
    assert (fields["gpu_util_pct"], fields["temp_c"]) == (0, 0)
    assert {"gpu_util_pct", "temp_c"} <= set(fields["unknown"])


def test_lact_names_a_nameless_device_by_its_id() -> None:
    assert lact.reading_of(3, {"id": "x", "name": None}, {}).name == "x"


def test_a_line_of_nvidia_smi() -> None:
    line = "1, NVIDIA L40S, GPU-1, 54, 37, 12288, 46068, [N/A], 181.42"
    assert nvidia_smi.parse_line(line) == GpuReading(
        id=1,
        name="NVIDIA L40S",
        uuid="GPU-1",
        temp_c=54,
        gpu_util_pct=37.0,
        mem_used_mb=12288,
        mem_total_mb=46068,
        power_draw_w=181.42,
    )
    assert nvidia_smi.parse_line(line + ", more") == nvidia_smi.parse_line(line)


@pytest.mark.parametrize(
    "line", ["", "   ", "1, NVIDIA L40S, GPU-1, 54, 37, 12288, 46068, 30", "No devices were found"]
)
def test_what_is_no_line_of_a_card_is_ignored(line: str) -> None:
    assert nvidia_smi.parse_line(line) is None


def test_a_card_without_memory_is_used_to_zero_percent() -> None:
    reading = nvidia_smi.parse_line("0, X, GPU-0, 54, 37, 0, 0, 30, 1")
    assert reading is not None
    assert reading.mem_util_pct == 0


def line(index: int, temperature: int = 40) -> str:
    return f"{index}, NVIDIA L40S, GPU-{index}, {temperature}, 1, 2, 4, 5, 6"


async def test_a_round_ends_with_a_cards_second_line() -> None:
    rounds = nvidia_smi.Rounds()
    seen = []
    for temperature in (40, 41, 42):
        for index in range(4):
            rounds.take(line(index, temperature))
        if temperature > 40:
            seen.append([(r.id, r.temp_c) for r in await rounds.read()])
    assert seen == [[(i, 40) for i in range(4)], [(i, 41) for i in range(4)]]


async def test_a_round_ends_with_silence(autojump_clock: trio.testing.MockClock) -> None:
    rounds = nvidia_smi.Rounds()
    async with trio.open_nursery() as nursery:

        async def print_slowly() -> None:
            for index in (2, 0, 1):
                await trio.sleep(0.1)
                rounds.take(line(index))

        nursery.start_soon(print_slowly)
        assert [reading.id for reading in await rounds.read()] == [0, 1, 2]
    assert trio.current_time() >= 0.5


async def test_the_newest_round_is_told_and_the_end_after_it() -> None:
    rounds = nvidia_smi.Rounds()
    for temperature in (40, 41):
        rounds.take(line(0, temperature))
    rounds.end("nvidia-smi exited with status 9")
    assert [reading.temp_c for reading in await rounds.read()] == [41]
    with pytest.raises(SourceFailed, match="status 9"):
        await rounds.read()


OLD_ROCM = """\
WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

device,Device Name,Device ID,Temperature (Sensor edge) (C),Temperature (Sensor junction) (C),\
Temperature (Sensor memory) (C),Fan speed (level),Fan speed (%),\
Average Graphics Package Power (W),GPU use (%),GFX Activity,GPU memory use (%),\
VRAM Total Memory (B),VRAM Total Used Memory (B),Card Series,Card Model,GFX Version
card0,Navi 31 [Radeon RX 7900 XTX],0x744c,45.0,52.0,58.0,73,28,31.0,7,12345,3,\
25753026560,4294967296,Radeon RX 7900 XTX,0x744c,gfx1100
card1,N/A,0x1681,N/A,N/A,N/A,N/A,N/A,N/A,0,1,0,536870912,0,N/A,0x1681,N/A
"""
NEW_ROCM = """\
device,Device Name,Device ID,Device Rev,Subsystem ID,GUID,Temperature (Sensor edge) (C),\
Temperature (Sensor junction) (C),Temperature (Sensor memory) (C),Fan speed (level),Fan speed (%),\
Current Socket Graphics Package Power (W),GPU use (%),GPU Memory Allocated (VRAM%),\
VRAM Total Memory (B),VRAM Total Used Memory (B),Card Series,Card Model,GFX Version
card0,Navi 31 [Radeon RX 7900 XTX],0x744c,0xc8,0x5304,19246,45.0,52.0,58.0,73,28,31.0,7,16,\
25753026560,4294967296,Radeon RX 7900 XTX,0x744c,gfx1100

card1,N/A,0x1681,0x0,0x1,22,N/A,N/A,N/A,N/A,N/A,N/A,0,0,536870912,0,N/A,0x1681,N/A
"""


@pytest.mark.parametrize(("text", "uuids"), [(OLD_ROCM, ["", ""]), (NEW_ROCM, ["19246", "22"])])
def test_rocm_smi_columns_are_found_by_name(text: str, uuids: list[str]) -> None:
    readings = rocm_smi.parse_table(text)
    assert [reading.uuid for reading in readings] == uuids
    first, second = readings
    assert first == GpuReading(
        id=0,
        name="Radeon RX 7900 XTX card0 (gfx1100)",
        uuid=uuids[0],
        temp_c=45,
        vram_temp_c=58,
        gpu_util_pct=7.0,
        mem_used_mb=4096,
        mem_total_mb=24560,
        fan_speed_pct=28.0,
        power_draw_w=31.0,
    )
    assert first.mem_util_pct == pytest.approx(16.68, abs=0.01)
    assert (second.name, second.temp_c, second.mem_total_mb) == ("card1", None, 512)


@pytest.mark.parametrize(
    "text",
    [
        "card0,45.0\ndevice,Temperature (Sensor edge) (C)\n",
        "device,Temperature (Sensor edge) (C)\ncard0\n",
        "device,Temperature (Sensor edge) (C)\ngpu0,45.0\n",
        "device,Temperature (Sensor edge) (C)\ncard0,45.0,1\n",
        "ERROR: no driver",
    ],
)
def test_what_is_no_row_of_a_card_is_ignored(text: str) -> None:
    assert rocm_smi.parse_table(text) == []


def test_an_old_rocm_spelling_leaves_the_card_its_number() -> None:
    [reading] = rocm_smi.parse_table("device,Card series\ncard0,Radeon\n")
    assert reading.name == "card0"


IOREG = """\
+-o AGXAcceleratorG14X  <class AGXAcceleratorG14X, id 0x1000003bd, registered, matched, active>
    {
      "model" = "Apple M2 Max"
      "gpu-core-count" = 38
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=1,\
"Tiler Utilization %"=11,"Device Utilization %"=23,"In use system memory"=2147483648}
    }
"""


def test_ioreg_takes_the_plain_figure_of_memory() -> None:
    assert macos.parse_ioreg(IOREG, 64 << 30) == GpuReading(
        id=0,
        name="Apple M2 Max (38-core GPU)",
        gpu_util_pct=23.0,
        mem_used_mb=2048,
        mem_total_mb=65536,
    )


def test_ioreg_without_a_model_or_without_a_card() -> None:
    reading = macos.parse_ioreg('"Device Utilization %"=5', 1 << 30)
    assert reading is not None
    assert (reading.name, reading.mem_used_mb) == ("Apple GPU", None)
    assert macos.parse_ioreg('"In use system memory (driver)"=7', 1 << 30) is None
    assert macos.parse_ioreg("", 1 << 30) is None


MACTOP: dict[str, Any] = {
    "soc_metrics": {"gpu_power": 12.5, "gpu_freq_mhz": 1000, "gpu_temp": 61.6},
    "memory": {"total": 64 << 30, "used": 32 << 30},
    "gpu_usage": 73.5,
    "system_info": {"name": "Apple M2 Max", "gpu_core_count": 38},
    "fans": [
        {"rpm": 2000, "min_rpm": 1000, "max_rpm": 5000},
        {"rpm": 500, "min_rpm": 1000, "max_rpm": 5000},
        {"rpm": 1, "min_rpm": 0, "max_rpm": 0},
    ],
    "temperatures": [{"group": "CPU", "avg_celsius": 80}, {"group": "Memory", "avg_celsius": 44.5}],
}


def test_a_line_of_mactop() -> None:
    assert macos.parse_mactop(MACTOP) == GpuReading(
        id=0,
        name="Apple M2 Max (38-core GPU)",
        temp_c=62,
        vram_temp_c=45,
        gpu_util_pct=73.5,
        mem_used_mb=32768,
        mem_total_mb=65536,
        fan_speed_pct=12.5,
        power_draw_w=12.5,
    )
    assert macos.parse_mactop({}).name == "Apple GPU"
