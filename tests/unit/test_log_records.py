"""Cases T17-T20, T22 and T37 of telemetry §9: what a record of ours looks like."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterator

import pytest
import trio

from llamaswap.telemetry.access_log import (
    AccessRecord,
    access_line,
    client_address,
    duration_text,
    escaped,
    is_logged,
)
from llamaswap.telemetry.logging_setup import LogSettings, logging_to
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.timestamps import timestamp

logger = logging.getLogger("llamaswap.a.module")
AUGUST = datetime.datetime(
    2026, 8, 7, 9, 5, 3, 120_400, datetime.timezone(datetime.timedelta(hours=2))
).timestamp()


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("TZ", getattr(request, "param", "CET-1CEST,M3.5.0,M10.5.0/3"))
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ansic", "Fri Aug  7 09:05:03 2026"),
        ("unixdate", "Fri Aug  7 09:05:03 CEST 2026"),
        ("rubydate", "Fri Aug 07 09:05:03 +0200 2026"),
        ("rfc822", "07 Aug 26 09:05 CEST"),
        ("rfc822z", "07 Aug 26 09:05 +0200"),
        ("rfc850", "Friday, 07-Aug-26 09:05:03 CEST"),
        ("rfc1123", "Fri, 07 Aug 2026 09:05:03 CEST"),
        ("rfc1123z", "Fri, 07 Aug 2026 09:05:03 +0200"),
        ("rfc3339", "2026-08-07T09:05:03+02:00"),
        ("rfc3339nano", "2026-08-07T09:05:03.1204+02:00"),
        ("kitchen", "9:05AM"),
        ("stamp", "Aug  7 09:05:03"),
        ("stampmilli", "Aug  7 09:05:03.120"),
        ("stampmicro", "Aug  7 09:05:03.120400"),
        ("stampnano", "Aug  7 09:05:03.120400000"),
        (" RFC3339 ", "2026-08-07T09:05:03+02:00"),
        ("nope", ""),
        ("", ""),
    ],
)
def test_each_time_format_is_written_to_the_byte(name: str, text: str) -> None:
    assert timestamp(name, AUGUST) == text


@pytest.mark.usefixtures("zone")
def test_names_are_english_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    def speak_german(*_: object) -> str:
        return "Fr. 7. Aug."

    monkeypatch.setattr(time, "strftime", speak_german)  # all that knows of locales
    assert timestamp("rfc1123", AUGUST) == "Fri, 07 Aug 2026 09:05:03 CEST"


@pytest.mark.parametrize(
    ("zone", "text"),
    [("UTC0", "2026-08-07T07:05:03Z"), ("NST3:30", "2026-08-07T03:35:03-03:30")],
    indirect=["zone"],
)
def test_rfc3339_names_the_offset_of_any_zone(zone: None, text: str) -> None:
    assert timestamp("rfc3339", AUGUST) == text


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("when", "text"),
    [
        (AUGUST - 0.1204, "2026-08-07T09:05:03+02:00"),
        (AUGUST + 0.879_599_9, "2026-08-07T09:05:04+02:00"),
    ],
)
def test_a_fraction_of_zeros_is_not_written_and_rounding_carries(when: float, text: str) -> None:
    assert timestamp("rfc3339nano", when) == text


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(("hours", "text"), [(3, "12:05PM"), (-9, "12:05AM"), (4, "1:05PM")])
def test_kitchen_time_has_twelve_hours(hours: int, text: str) -> None:
    assert timestamp("kitchen", AUGUST + 3600 * hours) == text


@pytest.fixture
async def hub() -> LogHub:
    return LogHub()


async def test_records_carry_their_level_and_go_to_the_proxys_log(hub: LogHub) -> None:
    with logging_to(hub) as settings:
        settings.apply("debug", "")
        logger.debug("a %s", 1)
        logger.info("b")
        logger.warning("c")
        logger.error("d")
        logger.critical("e")
    assert hub.proxy.history() == b"[DEBUG] a 1\n[INFO] b\n[WARN] c\n[ERROR] d\n[ERROR] e\n"
    assert hub.combined.history() == hub.proxy.history()


@pytest.mark.parametrize(
    ("level", "first"),
    [
        ("debug", "[DEBUG]"),
        ("info", "[INFO]"),
        (" WARN ", "[WARN]"),
        ("error", "[ERROR]"),
        ("verbose", "[INFO]"),
    ],
)
async def test_the_level_hides_what_is_below_it(hub: LogHub, level: str, first: str) -> None:
    def log_all() -> None:
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(number, "x")

    with logging_to(hub) as settings:
        settings.apply(level, "")
        log_all()
    assert hub.proxy.history().decode().startswith(first)


async def test_level_and_time_format_change_live(hub: LogHub) -> None:
    def say(text: str, settings: LogSettings, *how: str) -> None:
        settings.apply(*how)
        logger.info(text)

    with logging_to(hub) as settings:
        say("hidden", settings, "warn", "")
        say("timed", settings, "info", "RFC3339 ")
        say("plain", settings, "info", "nope")
    timed, plain = hub.proxy.history().decode().splitlines()
    moment, _, rest = timed.partition(" ")
    assert datetime.datetime.fromisoformat(moment).tzinfo is not None
    assert (rest, plain) == ("[INFO] timed", "[INFO] plain")


async def test_a_record_for_a_models_log_goes_there_instead(hub: LogHub) -> None:
    with logging_to(hub):
        logger.info("stopping", extra={"model_log": "m"})
    assert hub.proxy.history() == b""
    assert hub.model("m").source.history() == b"[INFO] stopping\n"


async def test_what_went_wrong_with_a_model_reaches_the_proxys_log_too(hub: LogHub) -> None:
    with logging_to(hub):
        logger.error("stop command failed", extra={"model_log": "m"})
    assert hub.proxy.history() == b"[ERROR] stop command failed\n"
    assert hub.model("m").source.history() == b"[ERROR] stop command failed\n"


async def test_a_traceback_follows_its_record(hub: LogHub) -> None:
    with logging_to(hub):
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("it failed")
    text = hub.proxy.history().decode()
    assert text.startswith("[ERROR] it failed\nTraceback")
    assert text.endswith("ValueError: broken\n")


async def test_worker_threads_may_log(hub: LogHub) -> None:
    with logging_to(hub):
        await trio.to_thread.run_sync(logger.info, "from a thread")
        with hub.proxy.follow() as feed, trio.fail_after(5):
            assert await anext(feed) == b"[INFO] from a thread\n"


async def test_text_that_is_no_unicode_is_logged_all_the_same(hub: LogHub) -> None:
    with logging_to(hub):
        logger.info("model \udcff")
    assert hub.proxy.history() == b"[INFO] model \\udcff\n"


async def test_leaving_the_block_restores_the_logger(hub: LogHub) -> None:
    ours = logging.getLogger("llamaswap")
    before = (ours.level, ours.propagate, list(ours.handlers))
    with logging_to(hub):
        assert not ours.propagate
    assert (ours.level, ours.propagate, ours.handlers) == before


def test_the_access_line_has_the_layout_scripts_look_for() -> None:
    line = access_line(
        AccessRecord(
            client="10.0.0.7",
            method="POST",
            path="/v1/chat/completions",
            protocol="HTTP/1.1",
            status=200,
            sent=5321,
            user_agent="curl/8.5.0",
            duration=2.345678901,
        )
    )
    assert line == (
        'Request 10.0.0.7 "POST /v1/chat/completions HTTP/1.1" 200 5321 "curl/8.5.0" 2.345678901s'
    )


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (850e-9, "850ns"),
        (412.5e-6, "412.5µs"),
        (1.25e-3, "1.25ms"),
        (2.5, "2.5s"),
        (63.2, "1m3.2s"),
        (60.000_000_05, "1m0.00000005s"),
        (3605, "1h0m5s"),
        (3600, "1h0m0s"),
        (60, "1m0s"),
        (1, "1s"),
        (0.001, "1ms"),
        (0.999_999_999_9, "1s"),
        (0, "0s"),
        (-1, "0s"),
    ],
)
def test_durations_take_their_largest_fitting_unit(duration: float, text: str) -> None:
    assert duration_text(duration) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl/8.5.0 (ü)", "curl/8.5.0 (ü)"),
        ('a"b\\c', 'a\\"b\\\\c'),
        ("x\n[ERROR] forged\r\t", "x\\n[ERROR] forged\\r\\t"),
        ("\x1b[31m\x00\x9b", "\\x1b[31m\\x00\\x9b"),
        ("\u2028\udcff", "\\u2028\\udcff"),
    ],
)
def test_nothing_in_a_field_can_end_it(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize(
    ("forwarded", "real", "client"),
    [
        (" 203.0.113.9 , 10.0.0.1", "192.0.2.1", "203.0.113.9"),
        ("", " 192.0.2.1 ", "192.0.2.1"),
        (" ,10.0.0.1", "", "127.0.0.1"),
        ("", "", "127.0.0.1"),
    ],
)
def test_the_client_is_who_the_nearest_proxy_names(forwarded: str, real: str, client: str) -> None:
    assert client_address("127.0.0.1", forwarded, real) == client


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/health", True),
        ("/nope", True),
        ("/wol-health", False),
        ("/metrics", False),
        ("/metrics/x", False),
        ("/api/performance", False),
        ("/api/metrics/activity", True),
    ],
)
def test_only_what_is_polled_leaves_no_record(path: str, logged: bool) -> None:
    assert is_logged(path) is logged
