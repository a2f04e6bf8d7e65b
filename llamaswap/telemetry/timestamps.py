"""The time formats a log record may begin with. English names whatever the locale.

Source: telemetry §1.5, config §2.4.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import frozen

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@frozen
class _Moment:
    """An instant taken apart in the local time zone."""

    local: time.struct_time
    micros: int

    @property
    def clock(self) -> str:
        return f"{self.local.tm_hour:02}:{self.local.tm_min:02}:{self.local.tm_sec:02}"

    @property
    def weekday(self) -> str:
        return _DAYS[self.local.tm_wday]

    @property
    def month(self) -> str:
        return _MONTHS[self.local.tm_mon - 1]

    @property
    def year(self) -> int:
        return self.local.tm_year

    @property
    def day(self) -> int:
        return self.local.tm_mday

    @property
    def zone(self) -> str:
        return self.local.tm_zone

    def offset(self, separator: str = "") -> str:
        sign = "-" if self.local.tm_gmtoff < 0 else "+"
        hours, minutes = divmod(abs(self.local.tm_gmtoff) // 60, 60)
        return f"{sign}{hours:02}{separator}{minutes:02}"


def _rfc3339(moment: _Moment, fraction: str = "") -> str:
    local = moment.local
    offset = moment.offset(":") if local.tm_gmtoff else "Z"
    date = f"{local.tm_year:04}-{local.tm_mon:02}-{local.tm_mday:02}"
    return f"{date}T{moment.clock}{fraction}{offset}"


def _rfc3339_nano(moment: _Moment) -> str:
    fraction = f".{moment.micros:06}".rstrip("0")
    return _rfc3339(moment, fraction if len(fraction) > 1 else "")


def _rfc1123(m: _Moment, zone: str) -> str:
    return f"{m.weekday[:3]}, {m.day:02} {m.month} {m.year} {m.clock} {zone}"


def _rfc822(m: _Moment, zone: str) -> str:
    return f"{m.day:02} {m.month} {m.year % 100:02} {m.clock[:5]} {zone}"


def _kitchen(m: _Moment) -> str:
    half = "AM" if m.local.tm_hour < 12 else "PM"
    return f"{m.local.tm_hour % 12 or 12}:{m.local.tm_min:02}{half}"


def _stamp(m: _Moment, fraction: str = "") -> str:
    return f"{m.month} {m.day:2} {m.clock}{fraction}"


_FORMATS: dict[str, Callable[[_Moment], str]] = {
    "ansic": lambda m: f"{m.weekday[:3]} {m.month} {m.day:2} {m.clock} {m.year}",
    "unixdate": lambda m: f"{m.weekday[:3]} {m.month} {m.day:2} {m.clock} {m.zone} {m.year}",
    "rubydate": lambda m: f"{m.weekday[:3]} {m.month} {m.day:02} {m.clock} {m.offset()} {m.year}",
    "rfc822": lambda m: _rfc822(m, m.zone),
    "rfc822z": lambda m: _rfc822(m, m.offset()),
    "rfc850": lambda m: f"{m.weekday}, {m.day:02}-{m.month}-{m.year % 100:02} {m.clock} {m.zone}",
    "rfc1123": lambda m: _rfc1123(m, m.zone),
    "rfc1123z": lambda m: _rfc1123(m, m.offset()),
    "rfc3339": _rfc3339,
    "rfc3339nano": _rfc3339_nano,
    "kitchen": _kitchen,
    "stamp": _stamp,
    "stampmilli": lambda m: _stamp(m, f".{m.micros // 1000:03}"),
    "stampmicro": lambda m: _stamp(m, f".{m.micros:06}"),
    # The clock knows microseconds; the width is what readers rely on.
    "stampnano": lambda m: _stamp(m, f".{m.micros:06}000"),
}


def timestamp(name: str, when: float) -> str:
    """Return `when` (Unix seconds) in the format called `name`, local time; unknown: empty."""
    write = _FORMATS.get(name.strip().lower())
    if write is None:
        return ""
    seconds, micros = divmod(round(when * 1_000_000), 1_000_000)
    return write(_Moment(time.localtime(seconds), micros))
