"""Cases T51, T52 of telemetry §9: which moments `?after=` understands."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from llamaswap.api.performance import parse_after
from llamaswap.errors import BadRequest
from llamaswap.telemetry.samples import timestamp_text

MOMENT = datetime(2026, 8, 7, 9, 5, 3, 120412, timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    "text",
    [
        "2026-08-07T09:05:03.120412+02:00",
        "2026-08-07T09:05:03.120412 02:00",
        "2026-08-07T07:05:03.120412Z",
        "2026-08-07t07:05:03.120412z",
        "2026-08-07T09:05:03.120412999+02:00",
        "2026-08-07T03:35:03.120412-03:30",
    ],
)
def test_one_moment_in_every_spelling(text: str) -> None:
    assert parse_after(text) == MOMENT


def test_what_we_write_reads_back_the_same() -> None:
    for moment in (MOMENT, MOMENT.replace(microsecond=0), MOMENT.replace(microsecond=5)):
        assert parse_after(timestamp_text(moment)) == moment
    assert timestamp_text(MOMENT.replace(microsecond=0)) == "2026-08-07T09:05:03.000000+02:00"


def test_fewer_digits_are_a_fraction_all_the_same() -> None:
    assert parse_after("2026-08-07T09:05:03.1+02:00") == MOMENT.replace(microsecond=100_000)
    assert parse_after("2026-08-07T09:05:03+02:00") == MOMENT.replace(microsecond=0)


def test_nothing_is_no_limit() -> None:
    assert parse_after("") is None


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-08-07",
        "2026-08-07T09:05:03",
        "2026-08-07 09:05:03Z",
        "2026-13-07T09:05:03Z",
        "2026-08-07T09:05:03.Z",
        "2026-08-07T09:05:03+0200",
        "1754550303",
        "\uff12026-08-07T09:05:03Z",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="use RFC3339 format"):
        parse_after(text)
